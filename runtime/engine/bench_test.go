package engine

import (
	"context"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// noopDevice is a Model and a Device that do no work: what a turn costs with it is the Engine's own.
type noopDevice struct {
	choices []runtime.Choice
}

func (noopDevice) Facts() *runtime.Facts                                { return &runtime.Facts{VocabSize: 256} }
func (noopDevice) Tokenize(string, bool, bool) ([]runtime.Token, error) { return nil, nil }
func (noopDevice) Piece(runtime.Token, bool) []byte                     { return []byte("abc ") }
func (noopDevice) EndOfGeneration(runtime.Token) bool                   { return false }
func (noopDevice) KnownTemplate([]runtime.Message, bool) (string, error) {
	return "", runtime.ErrTemplate
}
func (noopDevice) NewSampler(runtime.Sampling, []runtime.Token) (runtime.Sampler, error) {
	return noopDevice{}, nil
}
func (noopDevice) Pack(*runtime.LoRA) (runtime.Packed, error) { return nil, runtime.ErrAdapter }
func (noopDevice) Close() error                               { return nil }
func (noopDevice) SetAdapters(int, []runtime.Term) error      { return nil }
func (noopDevice) Copy(int, int, int) error                   { return nil }
func (noopDevice) Truncate(_, from int) (int, error)          { return from, nil }
func (noopDevice) Limits() runtime.Limits {
	return runtime.Limits{Sequences: 16, Cells: 1 << 20, Batch: 512, CanTruncate: true}
}
func (n *noopDevice) Decode(rows []runtime.Row) ([]runtime.Choice, error) {
	n.choices = n.choices[:0]
	for _, r := range rows {
		if r.Sampler != nil {
			n.choices = append(n.choices, runtime.Choice{Token: 'a'})
		}
	}
	return n.choices, nil
}

// BenchmarkTurn is what a turn of 16 answering streams costs besides the Device, stop strings included.
func BenchmarkTurn(b *testing.B) {
	n := &noopDevice{}
	e := newEngine(n, n, Options{})
	prompt := make([]runtime.Token, 100)
	var streams []*runtime.Stream
	for range 16 {
		s, err := e.Submit(context.Background(), runtime.Request{Prompt: prompt, Top: -1, NoReuse: true, Stop: []string{"abc x", "\n\n"}})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		streams = append(streams, s)
	}
	for range 20 {
		e.turn()
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	b.ReportAllocs()
	for b.Loop() {
		if e.turn(); len(e.running) < 16 {
			b.Fatal("a stream has ended")
		}
		for _, s := range streams {
			for { // what is there; with a context that has ended, Next does not wait
				if _, err := s.Next(ended); err != nil {
					break
				}
			}
		}
	}
}
