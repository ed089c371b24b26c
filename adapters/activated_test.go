package adapters

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/merge"
	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// activated is an adapter that acts from tokens on.
func activated(seed uint64, tokens ...runtime.Token) *pefttest.Files {
	p := pefttest.New(seed)
	p.Config["alora_invocation_tokens"] = tokens
	return p
}

// The invocation tokens stay with an adapter wherever it goes: into the store, to a Store that opens again, and through
// both forms and back.
func TestInvocationIsKept(t *testing.T) {
	want := []runtime.Token{3, 31, 3}
	dir := t.TempDir()
	s := openStore(t, dir)
	info := mustPut(t, s, "a", activated(1, want...))
	plain := mustPut(t, s, "plain", pefttest.New(1))
	if info.Digest == plain.Digest || !slices.Equal(info.Invocation, want) || plain.Invocation != nil {
		t.Errorf("digests %s and %s, invocations %v and %v", info.Digest, plain.Digest, info.Invocation, plain.Invocation)
	}
	s.Close()
	s = openStore(t, dir)
	again, err := s.Get(Ref{Name: "a"})
	if err != nil || !slices.Equal(again.Invocation, want) {
		t.Errorf("after opening again the invocation is %v, %v", again.Invocation, err)
	}
	if got := stored(t, s, "a"); !slices.Equal(got.Invocation, want) {
		t.Errorf("the loaded adapter has the invocation %v", got.Invocation)
	}

	data, _ := export(t, s, "a", PEFT)
	files := unzip(t, data)
	pefttest.CheckConfig(t, files[peft.ConfigFile])
	var config struct {
		Tokens []runtime.Token `json:"alora_invocation_tokens"`
	}
	if err := json.Unmarshal(files[peft.ConfigFile], &config); err != nil || !slices.Equal(config.Tokens, want) {
		t.Errorf("PEFT's form has %v, %v", config.Tokens, err)
	}
	putParts(t, s, "from-peft", part("back.zip", data))
	pefttest.Same(t, stored(t, s, "from-peft"), stored(t, s, "a"))

	data, _ = export(t, s, "a", GGUF)
	file, err := quant.Read(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if list, _ := file.Metadata.Get("adapter.alora.invocation_tokens"); !reflect.DeepEqual(list, []uint32{3, 31, 3}) {
		t.Errorf("llama.cpp's form has %v", list)
	}
	putParts(t, s, "from-gguf", part("back.gguf", data))
	pefttest.Same(t, stored(t, s, "from-gguf"), stored(t, s, "a"))

	if _, err := s.PutLoRA("from-memory", stored(t, s, "a"), Note{}); err != nil {
		t.Fatal(err)
	}
	pefttest.Same(t, stored(t, s, "from-memory"), stored(t, s, "a"))
	if data, _ := export(t, s, "plain", GGUF); bytes.Contains(data, []byte("alora")) {
		t.Error("llama.cpp's form of a plain adapter has invocation tokens")
	}
}

func TestInvocationIsCheckedAgainstTheBase(t *testing.T) {
	s := openStore(t, "")
	_, err := s.PutUpload(t.Context(), "a", partsOf(t, activated(1, 3, 32)), Note{})
	pefttest.WantError(t, err, runtime.ErrAdapter, "alora_invocation_tokens has 32", "32 tokens")
	f := pefttest.Facts()
	f.ContextLength = 4
	c, w := activated(1, 1, 1, 1, 1, 1).Encode(t)
	src, err := peft.Read(section(c), section(w))
	if err != nil {
		t.Fatal(err)
	}
	_, err = src.Fit(f)
	pefttest.WantError(t, err, runtime.ErrAdapter, "alora_invocation_tokens has 5 tokens", "context has 4")
}

// Adapters that act on the same tokens become one that does; others do not, nor does the base.
func TestMergeActivated(t *testing.T) {
	s := openStore(t, "")
	mustPut(t, s, "a", activated(1, 3, 4))
	mustPut(t, s, "b", activated(2, 3, 4))
	mustPut(t, s, "other", activated(3, 4))
	mustPut(t, s, "plain", pefttest.New(4))
	cat := merge.Options{Method: merge.Cat}
	info, err := s.Merge(t.Context(), "ab", Merge{From: refs(t, "a", 1., "b", 0.5), Options: cat})
	if err != nil || !slices.Equal(info.Invocation, []runtime.Token{3, 4}) {
		t.Errorf("the merged adapter acts from %v on, %v", info.Invocation, err)
	}
	for _, name := range []string{"other", "plain"} {
		_, err = s.Merge(t.Context(), "ab", Merge{From: refs(t, "a", 1., name, 0.5), Options: cat})
		pefttest.WantError(t, err, merge.ErrRefused, "from[1].name", name, "alora_invocation_tokens")
	}
	a, err := s.fit(info.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	pefttest.WantError(t, merge.NewSum(pefttest.Facts()).Add(a, 1), peft.ErrUnsupported, "alora_invocation_tokens", "merged into the base")
}

// The parts of a Selection have the keys that make up its own, in the order of the mix, each with its invocation.
func TestSelectionParts(t *testing.T) {
	s, c, infos := realCache(t)
	infos["act"] = mustPut(t, s, "act", activated(9, 7, 8))
	sel, err := c.Select(refs(t, "a", 1., "act", 0.5, "b", 1.))
	if err != nil {
		t.Fatal(err)
	}
	defer sel.Release()
	mix, err := sel.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer mix.Release()
	parts, key := sel.Parts(), ""
	if len(parts) != 3 || len(mix.Terms) != 3 {
		t.Fatalf("%d parts, %d terms", len(parts), len(mix.Terms))
	}
	for i, p := range parts {
		if i > 0 {
			key += "+"
		}
		key += p.Key
		if lora := mix.Terms[i].Packed.(*plainPacked).LoRA; !slices.Equal(lora.Invocation, p.Invocation) {
			t.Errorf("part %d acts from %v on, the mix's term from %v on", i, p.Invocation, lora.Invocation)
		}
		if want := p.Key == infos["act"].Digest+"*0.5"; want != (len(p.Invocation) == 2) {
			t.Errorf("part %s has the invocation %v", p.Key, p.Invocation)
		}
	}
	if key != sel.Key() {
		t.Errorf("the parts' keys are %s, the key is %s", key, sel.Key())
	}

	u, err := c.AddUnstored(t.Context(), "live", &runtime.LoRA{Invocation: []runtime.Token{5}})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	live := u.Select(0.5)
	defer live.Release()
	if p := live.Parts(); len(p) != 1 || p[0].Key != live.Key() || !slices.Equal(p[0].Invocation, []runtime.Token{5}) {
		t.Errorf("of one in no store: %+v", p)
	}
}

// section reads bytes as a file's part.
func section(data []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))
}
