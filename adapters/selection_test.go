package adapters

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// realCache is a Cache over a Store with the adapters a, b and c.
func realCache(t *testing.T) (*Store, *Cache, map[string]Info) {
	t.Helper()
	s := openStore(t, "")
	infos := make(map[string]Info)
	for i, n := range []string{"a", "b", "c"} {
		infos[n] = mustPut(t, s, n, pefttest.New(uint64(i)))
	}
	c := NewCache(CacheOptions{Store: s, Budget: 1 << 20, Pack: func(a *runtime.LoRA) (runtime.Packed, error) {
		return &plainPacked{a}, nil
	}})
	t.Cleanup(func() { c.Close() })
	return s, c, infos
}

type plainPacked struct{ *runtime.LoRA }

func (p *plainPacked) Bytes() int64 { return 1 }
func (p *plainPacked) Close() error { return nil }

func refs(t *testing.T, list ...any) (out []Ref) {
	t.Helper()
	for i := 0; i < len(list); i += 2 {
		r, err := ParseRef(list[i].(string))
		if err != nil {
			t.Fatal(err)
		}
		r.Scale = float32(list[i+1].(float64))
		out = append(out, r)
	}
	return out
}

func TestSelectionNamesTheFunction(t *testing.T) {
	s, c, infos := realCache(t)
	a, b := infos["a"], infos["b"]
	same := mustPut(t, s, "same-as-a", pefttest.New(0))
	if same.Digest != a.Digest {
		t.Fatal("equal adapters have different digests")
	}
	ab := a.Digest + "*1+" + b.Digest + "*0.5"
	if b.Digest < a.Digest {
		ab = b.Digest + "*0.5+" + a.Digest + "*1"
	}
	for _, x := range []struct {
		refs             []Ref
		key, flow, label string
	}{
		{nil, "", "", ""},
		{refs(t, "a", 1.), a.Digest + "*1", "a", "a@" + a.Version},
		{refs(t, "a@"+a.Version, 0.7), a.Digest + "*0.7", "a", "a@" + a.Version + "*0.7"},
		{refs(t, "a", 1., "b", 0.5), ab, "a+b", "a@" + a.Version + "+b@" + b.Version + "*0.5"},
		{refs(t, "b", 0.5, "a", 1.), ab, "a+b", "a@" + a.Version + "+b@" + b.Version + "*0.5"},
		{refs(t, "b", 0.5, "a", 0.25, "a", 0.75), ab, "a+b", "a@" + a.Version + "*0.25+a@" + a.Version + "*0.75+b@" + b.Version + "*0.5"},
		{refs(t, "same-as-a", 0.25, "a", 0.75), a.Digest + "*1", "a+same-as-a", "a@" + a.Version + "*0.75+same-as-a@" + a.Version + "*0.25"},
		{refs(t, "a", 0.), "", "", ""},
		{refs(t, "a", 0.3, "b", 1., "a", -0.3), b.Digest + "*1", "b", "b@" + b.Version},
		{refs(t, "a", -1.), a.Digest + "*-1", "a", "a@" + a.Version + "*-1"},
	} {
		got, err := c.Select(x.refs)
		if err != nil {
			t.Fatal(err)
		}
		if got.Key() != x.key || got.Flow() != x.flow || got.Label() != x.label {
			t.Errorf("%v: key %q flow %q label %q, want %q, %q, %q", x.refs, got.Key(), got.Flow(), got.Label(), x.key, x.flow, x.label)
		}
		m, err := got.Acquire(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if terms := strings.Count(x.key, "*"); len(m.Terms) != terms {
			t.Errorf("%v: %d terms, want %d", x.refs, len(m.Terms), terms)
		}
		m.Release()
		got.Release()
	}
}

func TestSelectRefuses(t *testing.T) {
	s, c, _ := realCache(t)
	nan := float64(math.NaN())
	_, err := c.Select(refs(t, "a", 1., "a", 1., "a", 1., "a", 1., "a", 1.))
	pefttest.WantError(t, err, ErrReference, "5", "4")
	_, err = c.Select(refs(t, "a", nan))
	pefttest.WantError(t, err, ErrReference, `"a"`)
	_, err = c.Select(refs(t, "a", math.MaxFloat32, "a", math.MaxFloat32))
	pefttest.WantError(t, err, ErrReference, `"a"`)
	_, err = c.Select(refs(t, "a", 1., "aa", 1.))
	pefttest.WantError(t, err, ErrUnknown, `"aa"`, "a")
	for _, v := range s.versions {
		if v.holds != 0 {
			t.Error("a refused selection holds a version")
		}
	}
}

func TestParseRef(t *testing.T) {
	for _, good := range []string{"a", "A.b_c-9", strings.Repeat("x", 128), "a@0123", "a@0123456789ab"} {
		if r, err := ParseRef(good); err != nil || r.Scale != 1 || r.String() != good {
			t.Errorf("%q reads as %+v (%v)", good, r, err)
		}
	}
	for bad, want := range map[string]error{"": ErrName, ".a": ErrName, "-a": ErrName, "a/b": ErrName, "a:b": ErrName, "ä": ErrName,
		"a b": ErrName, strings.Repeat("x", 129): ErrName, "@0123": ErrName, "a@": ErrReference, "a@012": ErrReference, "a@xyzw": ErrReference,
		"a@" + strings.Repeat("0", 65): ErrReference} {
		_, err := ParseRef(bad)
		pefttest.WantError(t, err, want)
	}
}

// TestSelectionKeepsItsVersion follows a request through the replacement and the deletion of what it asked for.
func TestSelectionKeepsItsVersion(t *testing.T) {
	s, c, infos := realCache(t)
	before, err := c.Select(refs(t, "a", 1.))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := before.TryAcquire(); ok {
		t.Error("an adapter that is not loaded was lent without waiting")
	}
	next := mustPut(t, s, "a", pefttest.New(9))
	after, err := c.Select(refs(t, "a", 1.))
	if err != nil {
		t.Fatal(err)
	}
	if before.Key() != infos["a"].Digest+"*1" || after.Key() != next.Digest+"*1" {
		t.Errorf("keys %s and %s", before.Key(), after.Key())
	}
	if err := s.Delete("a", Origin{}); err != nil {
		t.Fatal(err)
	}
	for seed, sel := range map[uint64]*Selection{0: before, 9: after} {
		m, err := sel.Acquire(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		pefttest.Same(t, m.Terms[0].Packed.(*plainPacked).LoRA, loraOf(t, pefttest.New(seed), pefttest.Facts()))
		m.Release()
	}
	before.Release()
	after.Release()
	if got := tree(t, s.path("versions")); len(got) != 2*4 { // b and c, with three files each
		t.Errorf("versions %v", got)
	}
	if _, err := before.Acquire(context.Background()); err != nil {
		t.Errorf("what is in memory cannot be acquired after its release: %v", err)
	}
}

func TestSelectionAfterReleaseFindsTheVersionGone(t *testing.T) {
	s, c, _ := realCache(t)
	sel, err := c.Select(refs(t, "a", 1.))
	if err != nil {
		t.Fatal(err)
	}
	sel.Release()
	sel.Release()
	if err := s.Delete("a", Origin{}); err != nil {
		t.Fatal(err)
	}
	_, err = sel.Acquire(context.Background())
	pefttest.WantError(t, err, ErrUnknown, "deleted")
}

func TestInfosSayWhatIsLoaded(t *testing.T) {
	s, c, _ := realCache(t)
	sel, err := c.Select(refs(t, "b", 1.))
	if err != nil {
		t.Fatal(err)
	}
	defer sel.Release()
	m, err := sel.Acquire(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Release()
	for _, i := range s.List() {
		if i.Loaded != (i.Name == "b") {
			t.Errorf("%s: loaded is %v", i.Name, i.Loaded)
		}
	}
}
