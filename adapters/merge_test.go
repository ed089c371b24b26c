package adapters

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/merge"
	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
)

func weighted(weights ...float32) []Ref {
	refs := make([]Ref, len(weights))
	for i, w := range weights {
		refs[i] = Ref{Name: string(rune('a' + i)), Scale: w}
	}
	return refs
}

// A merge is stored as what package merge makes of the same adapters.
func TestMergeStoresTheMerge(t *testing.T) {
	s := openStore(t, "")
	var inputs []merge.Input
	for i, w := range []float32{0.5, -1} {
		p := pefttest.New(uint64(i + 1))
		mustPut(t, s, string(rune('a'+i)), p)
		inputs = append(inputs, merge.Input{Weight: w, Adapter: fitOf(t, p, pefttest.Facts())})
	}
	for _, o := range []merge.Options{{Method: merge.Cat}, {Method: merge.SVD, Rank: 3}, {Method: merge.DARETIES, Density: 0.5, Seed: 5}} {
		info, err := s.Merge(t.Context(), "out", Merge{From: weighted(0.5, -1), Options: o})
		if err != nil {
			t.Fatal(err)
		}
		src, err := merge.Adapters(t.Context(), inputs, o)
		if err != nil {
			t.Fatal(err)
		}
		want, err := src.Fit(pefttest.Facts())
		if err != nil {
			t.Fatal(err)
		}
		values, err := want.LoRA()
		if err != nil {
			t.Fatal(err)
		}
		pefttest.Same(t, stored(t, s, "out"), values)
		if again, err := s.Merge(t.Context(), "again", Merge{From: weighted(0.5, -1), Options: o}); err != nil || again.Digest != info.Digest {
			t.Errorf("%s: the same merge is stored as %s and as %s: %v", o.Method, info.Digest, again.Digest, err)
		}
	}
}

func TestMergeSaysWhatItWasMadeOf(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	first := mustPut(t, s, "a", pefttest.New(1))
	mustPut(t, s, "a", pefttest.New(2))
	b := mustPut(t, s, "b", pefttest.New(3))
	m := Merge{From: []Ref{{Name: "a", Version: first.Version, Scale: 0.5}, {Name: "b", Scale: -2}}, Options: merge.Options{Method: merge.TIES, Density: 0.5, Seed: 9}}
	info, err := s.Merge(t.Context(), "out", m)
	if err != nil {
		t.Fatal(err)
	}
	want := Recipe{Method: merge.TIES, From: []Ingredient{{"a", first.Digest, 0.5}, {"b", b.Digest, -2}}, Density: 0.5, MajoritySign: "total"}
	for range 2 {
		got := info.Origin.Merge
		if info.Origin.Kind != FromMerge || got == nil || fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", want) {
			t.Errorf("the origin is %+v %+v, want %+v", info.Origin, got, want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, dir) // and it is still known
		if info, err = s.Get(Ref{Name: "out"}); err != nil {
			t.Fatal(err)
		}
	}
	if i := slices.IndexFunc(s.List(), func(i Info) bool { return i.Name == "out" }); i < 0 {
		t.Error("it is not listed")
	}
}

func TestMergeRefuses(t *testing.T) {
	s := openStore(t, "")
	mustPut(t, s, "a", pefttest.New(1))
	mustPut(t, s, "b", pefttest.New(2))
	two := weighted(1, 1)
	cat := merge.Options{Method: merge.Cat}
	_, err := s.Merge(t.Context(), "out", Merge{From: two, Options: merge.Options{Method: "mean"}})
	pefttest.WantError(t, err, merge.ErrRefused, "method", "mean")
	_, err = s.Merge(t.Context(), "out", Merge{From: []Ref{{Name: "a", Scale: 1}, {Name: "bb", Scale: 1}}, Options: cat})
	pefttest.WantError(t, err, ErrUnknown, "bb")
	_, err = s.Merge(t.Context(), "no/name", Merge{From: two, Options: cat})
	pefttest.WantError(t, err, ErrName)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("left"))
	_, err = s.Merge(ctx, "out", Merge{From: two, Options: cat})
	if err == nil || !strings.Contains(err.Error(), "left") {
		t.Errorf("a merge whose client has left ends with %v", err)
	}
	if _, err := s.Get(Ref{Name: "out"}); !errors.Is(err, ErrUnknown) {
		t.Errorf("a refused merge left something: %v", err)
	}
	big := pefttest.New(6)
	big.Config["lora_alpha"] = 1e30
	mustPut(t, s, "big", big)
	_, err = s.Merge(t.Context(), "out", Merge{From: []Ref{{Name: "big", Scale: 1e30}}, Options: cat})
	pefttest.WantError(t, err, peft.ErrUnsupported, "Inf", "lora_A")
	for _, v := range s.versions {
		if v.holds != 0 {
			t.Errorf("version %s is still held", v.manifest.Digest)
		}
	}
}

// Adapters of two bases are not mixed.
func TestMergeOfTwoBases(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	mustPut(t, s, "a", pefttest.New(1))
	s.Close()
	f := pefttest.Facts()
	f.Fingerprint = "other"
	s, err := Open(Options{Dir: dir, Facts: f})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mustPut(t, s, "b", pefttest.New(2))
	_, err = s.Merge(t.Context(), "out", Merge{From: weighted(1, 1), Options: merge.Options{Method: merge.Cat}})
	pefttest.WantError(t, err, merge.ErrRefused, `from[1].name`, `"b"`, "another base")
}
