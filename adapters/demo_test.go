package adapters

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
	"github.com/lorikeet-ai/lorikeet/demo"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// demoFacts reads from the demo base's header what adapters are checked against.
func demoFacts(t testing.TB) *runtime.Facts {
	t.Helper()
	file, err := quant.Read(bytes.NewReader(demo.Base()), int64(len(demo.Base())))
	if err != nil {
		t.Fatal(err)
	}
	f, err := peft.FactsOf(file)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestDemoAdapters registers the adapters that PyTorch trained, as `make run` does.
func TestDemoAdapters(t *testing.T) {
	s, err := Open(Options{Dir: t.TempDir(), Facts: demoFacts(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	watch(t, s, "../demo/adapters").want("registered json", "registered pirate", "registered shout")
	c := NewCache(CacheOptions{Store: s, Budget: 1 << 30, Pack: func(a *runtime.LoRA) (runtime.Packed, error) { return &plainPacked{a}, nil }})
	defer c.Close()
	for _, want := range []struct {
		name          string
		rank, targets int
		alpha         float64
		rs            bool
		scale         float32
	}{{"json", 8, 7, 16, true, 5.656854}, {"pirate", 16, 7, 32, false, 2}, {"shout", 4, 4, 8, false, 2}} {
		i, err := s.Get(Ref{Name: want.name})
		if err != nil {
			t.Fatal(err)
		}
		if i.Rank != want.rank || i.Alpha != want.alpha || i.RSLoRA != want.rs || len(i.Targets) != want.targets || len(i.Warnings) > 0 {
			t.Errorf("%s: %+v", want.name, i.Summary)
		}
		sel, err := c.Select([]Ref{{Name: want.name, Scale: 1}})
		if err != nil {
			t.Fatal(err)
		}
		m, err := sel.Acquire(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		a := m.Terms[0].Packed.(*plainPacked).LoRA
		if len(a.Modules) != 6*want.targets || a.Modules[0].Scale != want.scale {
			t.Errorf("%s has %d modules of scale %v", want.name, len(a.Modules), a.Modules[0].Scale)
		}
		m.Release()
		sel.Release()
	}
}

// BenchmarkLoad reads a stored rank-16 adapter on all linears of a model of half a billion parameters, as a cold
// request does: first with the check of its digest, then without.
func BenchmarkLoad(b *testing.B) {
	f := pefttest.Facts()
	f.Targets = map[string]runtime.Shape{}
	for l := range 24 {
		for name, s := range map[string]runtime.Shape{"attn_q": {In: 1024, Out: 1024}, "attn_k": {In: 1024, Out: 256},
			"attn_v": {In: 1024, Out: 256}, "attn_output": {In: 1024, Out: 1024}, "ffn_gate": {In: 1024, Out: 2816},
			"ffn_up": {In: 1024, Out: 2816}, "ffn_down": {In: 2816, Out: 1024}} {
			f.Targets[fmt.Sprintf("blk.%d.%s.weight", l, name)] = s
		}
	}
	s, err := Open(Options{Dir: b.TempDir(), Facts: f})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	a := &runtime.LoRA{}
	for tensor, shape := range f.Targets {
		a.Modules = append(a.Modules, runtime.LoRAModule{Tensor: tensor, Rank: 16, In: shape.In, Out: shape.Out, Scale: 2,
			A: slices.Repeat([]float32{1}, 16*shape.In), B: slices.Repeat([]float32{1}, 16*shape.Out)})
	}
	began := time.Now()
	info, err := s.PutLoRA("a", a, Note{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(began).Seconds()*1e3, "ms/put")
	b.SetBytes(info.Bytes)
	for _, cold := range []bool{true, false} {
		b.Run(map[bool]string{true: "verified", false: "again"}[cold], func(b *testing.B) {
			b.SetBytes(info.Bytes)
			for b.Loop() {
				s.versions[info.Digest].verified = !cold
				if _, err := s.load(info.Digest); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
