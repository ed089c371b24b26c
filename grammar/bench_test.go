package grammar

import (
	"encoding/json"
	bits64 "math/bits"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/grammar/grammartest"
)

// BenchmarkMask measures what a token costs in random answers, which are held to their constraint at every token.
func BenchmarkMask(b *testing.B) {
	v := newVocabulary(32_000)
	tokens := v.tokens()
	for _, name := range []string{"large/orders", "types/07", "large/unique words", "large/optional", "large/enum words", "large/choice of types", "types/00", "large/dictionary", "large/long text", "large/conditions"} {
		b.Run(name, func(b *testing.B) {
			part, err := Schema("p", json.RawMessage(grammartest.Schemas()[name]))
			if err != nil {
				b.Fatal(err)
			}
			c := New(part)
			r := rand.New(rand.NewPCG(1, 2))
			bits := make([]uint64, tokens.Words())
			m := c.NewMatcher(tokens)
			drawn := 0
			var took time.Duration
			for b.Loop() {
				start := time.Now()
				if err := m.Mask(bits); err != nil {
					b.Fatal(err)
				}
				took += time.Since(start)
				var allowed []int32
				for w, x := range bits {
					for ; x != 0; x &= x - 1 {
						allowed = append(allowed, int32(w*64)+int32(bits64.TrailingZeros64(x)))
					}
				}
				token := allowed[r.IntN(len(allowed))]
				if drawn++; token == v.end || drawn > 300 {
					m, drawn = c.NewMatcher(tokens), 0
					continue
				}
				if err := m.Accept(token); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(took.Nanoseconds())/float64(b.N), "ns/mask")
		})
	}
}

// BenchmarkCompile measures the schemas that take the longest.
func BenchmarkCompile(b *testing.B) {
	for name, schema := range grammartest.Schemas() {
		if len(schema) < 400 {
			continue
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := compileSchema("p", json.RawMessage(schema)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
