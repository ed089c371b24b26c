//go:build !race

package adapters // the race detector takes memory of its own

import (
	"fmt"
	"math/rand/v2"
	"os"
	goruntime "runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// mapped is an adapter whose values lie outside of Go's heap, as those of a Trainer do.
type mapped struct {
	view  runtime.LoRAView
	bytes int
}

func (m *mapped) View() (*runtime.LoRAView, error) { return &m.view, nil }

// newMapped makes an adapter of rank r on all targets of the base that it has, B of which lies transposed.
func newMapped(t *testing.T, f *runtime.Facts, r int) *mapped {
	t.Helper()
	m := &mapped{}
	values := func(n int) []float32 {
		raw, err := syscall.Mmap(-1, 0, 4*n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Munmap(raw) })
		m.bytes += len(raw)
		list := unsafe.Slice((*float32)(unsafe.Pointer(&raw[0])), n)
		rng := rand.New(rand.NewPCG(uint64(n), 1))
		for i := range list {
			list[i] = rng.Float32() - 0.5
		}
		return list
	}
	for _, tensor := range []string{"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.1.attn_q.weight", "blk.1.ffn_down.weight", "token_embd.weight"} {
		s, ok := f.Targets[tensor]
		if !ok {
			t.Fatalf("the base has no %s", tensor)
		}
		m.view.Modules = append(m.view.Modules, runtime.ModuleView{Tensor: tensor, Rank: r, In: s.In, Out: s.Out, Scale: 2,
			A: runtime.RowMajor(values(r*s.In), r, s.In), B: runtime.RowMajor(values(r*s.Out), r, s.Out).Transposed()})
	}
	return m
}

// residentBytes is the memory of this process without what it maps of files.
func residentBytes(t *testing.T) (bytes int64) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc/self/status")
	}
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &bytes); err == nil {
			return bytes << 10
		}
	}
	t.Skip("no RssAnon")
	return 0
}

// TestStoringTakesNoCopy stores an adapter of many megabytes from where it lies: neither Go's heap nor the process grows by more
// than a few.
func TestStoringTakesNoCopy(t *testing.T) {
	facts := largeFacts()
	s, err := Open(Options{Dir: t.TempDir(), Facts: facts})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const most = 8 << 20
	a := newMapped(t, facts, 512)
	if a.bytes < 4*most {
		t.Fatalf("an adapter of %d bytes proves nothing", a.bytes)
	}
	goruntime.GC()
	var before, after goruntime.MemStats
	goruntime.ReadMemStats(&before)
	from, peak := residentBytes(t), int64(0)
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond): // looking takes memory itself
				peak = max(peak, residentBytes(t)-from)
			}
		}
	}()
	if _, err := s.PutCheckpoint("large", 7, 2, a, Note{}); err != nil {
		t.Error(err)
	}
	info, err := s.PutLoRA("large", a, Note{})
	close(done)
	<-stopped
	if err != nil {
		t.Fatal(err)
	}
	goruntime.ReadMemStats(&after)
	t.Logf("an adapter of %d KiB: %d KiB were allocated, the process grew by up to %d KiB", a.bytes>>10, (after.TotalAlloc-before.TotalAlloc)>>10, peak>>10)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > most {
		t.Errorf("%d bytes were allocated to store %d twice, at most %d are expected", grown, a.bytes, most)
	}
	if peak > most {
		t.Errorf("the process grew by %d bytes while %d were stored", peak, a.bytes)
	}
	stored, err := s.load(info.Digest)
	if err != nil {
		t.Fatal(err)
	}
	want := a.view.Copy()
	for i := range want.Modules {
		w := &want.Modules[i]
		found := false
		for j := range stored.Modules {
			got := &stored.Modules[j]
			if got.Tensor == w.Tensor {
				found = true
				equal(t, w.Tensor+" A", got.A, w.A)
				equal(t, w.Tensor+" B", got.B, w.B)
			}
		}
		if !found {
			t.Errorf("%s is not stored", w.Tensor)
		}
	}
}

func equal(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: value %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

// largeFacts are of a base whose adapters have many values.
func largeFacts() *runtime.Facts {
	f := &runtime.Facts{Name: "large", Architecture: "llama", Fingerprint: "large-1", Layers: 2, Embedding: 1024, Heads: 16, KVHeads: 4, HeadSize: 64,
		RopeNorm: true, Targets: map[string]runtime.Shape{"token_embd.weight": {In: 1024, Out: 8000}, "output.weight": {In: 1024, Out: 8000}}}
	for l := range f.Layers {
		for name, s := range map[string]runtime.Shape{"attn_q": {In: 1024, Out: 1024}, "attn_k": {In: 1024, Out: 256}, "attn_v": {In: 1024, Out: 256},
			"attn_output": {In: 1024, Out: 1024}, "ffn_gate": {In: 1024, Out: 4096}, "ffn_up": {In: 1024, Out: 4096}, "ffn_down": {In: 4096, Out: 1024}} {
			f.Targets[fmt.Sprintf("blk.%d.%s.weight", l, name)] = s
		}
	}
	return f
}
