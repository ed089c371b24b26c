package runtime

import (
	"context"
	"testing"
)

// nothing is a Model and a Device that do no work: what a turn costs with it is the Engine's own.
type nothing struct {
	choices []Choice
}

func (nothing) Facts() *Facts                                { return &Facts{VocabSize: 256} }
func (nothing) Tokenize(string, bool, bool) ([]Token, error) { return nil, nil }
func (nothing) Piece(Token, bool) []byte                     { return []byte("abc ") }
func (nothing) EndOfGeneration(Token) bool                   { return false }
func (nothing) KnownTemplate([]Message, bool) (string, error) {
	return "", ErrTemplate
}
func (nothing) NewSampler(Sampling, []Token) (Sampler, error) { return nothing{}, nil }
func (nothing) Pack(*LoRA) (Packed, error)                    { return nil, ErrAdapter }
func (nothing) Close() error                                  { return nil }
func (nothing) Place(int, []Term) error                       { return nil }
func (nothing) Copy(int, int, int) error                      { return nil }
func (nothing) Forget(_, from int) (int, error)               { return from, nil }
func (nothing) Limits() Limits {
	return Limits{Sequences: 16, Cells: 1 << 20, Batch: 512, Cut: true}
}
func (n *nothing) Decode(rows []Row) ([]Choice, error) {
	n.choices = n.choices[:0]
	for _, r := range rows {
		if r.Sampler != nil {
			n.choices = append(n.choices, Choice{Token: 'a'})
		}
	}
	return n.choices, nil
}

// BenchmarkTurn is what a turn of 16 answering streams costs besides the Device, stop strings included.
func BenchmarkTurn(b *testing.B) {
	n := &nothing{}
	e := newEngine(n, n, Options{})
	prompt := make([]Token, 100)
	for range 16 {
		s, err := e.Submit(context.Background(), Request{Prompt: prompt, Top: -1, NoReuse: true, Stop: []string{"abc x", "\n\n"}})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
	}
	for range 20 {
		e.turn()
	}
	b.ReportAllocs()
	for b.Loop() {
		if e.turn(); len(e.running) < 16 {
			b.Fatal("a stream has ended")
		}
		for _, t := range e.running {
			t.stream.events = t.stream.events[:0]
		}
	}
}
