package grammar

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/lorikeet-ai/lorikeet/grammar/grammartest"
)

// someParts are those of all schemas, and calls.
func someParts(t *testing.T) map[string]Part {
	parts := map[string]Part{}
	for name, schema := range grammartest.Schemas() {
		part, err := Schema("p", json.RawMessage(schema))
		if err != nil {
			t.Fatal(name, err)
		}
		parts[name] = part
	}
	call := Sequence(Literal("<tool_call>"), Choice(Literal("ab"), Literal("abc")), Repeat(Choice(Part{}, Literal("null")), 1, 3), Literal("</tool_call>"))
	parts["calls"] = Sequence(TextBefore(Trigger{"</think>", Part{}}), Repeat(call, 1, -1), Literal("1"))
	return parts
}

// What answers share changes nothing: masks, admitted tokens and errors are those of a matcher that shares nothing.
func TestSharedStates(t *testing.T) {
	v := newVocabulary(900)
	tokens := v.tokens()
	r := rand.New(rand.NewPCG(31, 32))
	known, all := 0, 0
	for name, part := range someParts(t) {
		for range 4 { // the first answers leave states to those after them
			shared, alone := New(part).NewMatcher(tokens), New(part).NewMatcher(tokens)
			bits, want := make([]uint64, tokens.Words()), make([]uint64, tokens.Words())
			for range 25 {
				alone.state = nil
				if shared.KnownMask(bits) {
					known++
				}
				all++
				if err := shared.Mask(bits); err != nil {
					t.Fatal(name, err)
				}
				if err := alone.Mask(want); err != nil {
					t.Fatal(name, err)
				}
				if !slices.Equal(bits, want) {
					t.Fatalf("%s: after %q the mask is another one", name, shared.text)
				}
				var allowed []int32
				for i := range int32(len(v.pieces)) {
					if bits[i/64]>>(i%64)&1 != 0 {
						allowed = append(allowed, i)
					}
				}
				token := allowed[r.IntN(len(allowed))]
				if r.IntN(3) > 0 {
					token = allowed[r.IntN(min(len(allowed), 3))] // so that answers meet
				}
				if other := int32(r.IntN(len(v.pieces))); other != v.end && bits[other/64]>>(other%64)&1 == 0 && shared.Accept(other) == nil {
					t.Fatalf("%s: after %q the token %q is accepted", name, shared.text, v.pieces[other])
				}
				if admitted, err := shared.Admits(token); err != nil || !admitted {
					t.Fatalf("%s: after %q the token %q is not admitted: %v", name, shared.text, v.pieces[token], err)
				}
				if token == v.end {
					break
				}
				if err := shared.Accept(token); err != nil {
					t.Fatal(name, err)
				}
				if err := alone.Accept(token); err != nil {
					t.Fatal(name, err)
				}
			}
		}
	}
	if t.Logf("%d of %d masks were known", known, all); known < all/4 {
		t.Error("few masks are shared")
	}
}

// A second answer finds the masks of the first one, whichever constraint of the same schema it is held to.
func TestMasksOfASchemaAreKept(t *testing.T) {
	tokens := newVocabulary(700).tokens()
	part, err := Schema("p", json.RawMessage(`{"type":"array","items":{"type":"object","properties":{"kind":{"enum":["one","two"]},"n":{"type":"integer"}},"required":["kind","n"]}}`))
	if err != nil {
		t.Fatal(err)
	}
	bits := make([]uint64, tokens.Words())
	text := `[{"kind":"one","n":12},{"kind":"two","n":1}]`
	for round := range 2 {
		m := New(Sequence(TextBefore(Trigger{"!", Part{}}), part)).NewMatcher(tokens)
		if err := m.Accept('!'); err != nil {
			t.Fatal(err)
		}
		for _, b := range []byte(text) {
			if round == 1 && !m.KnownMask(bits) {
				t.Errorf("the mask after %q is not known", m.text)
			}
			if err := m.Mask(bits); err != nil {
				t.Fatal(err)
			}
			if err := m.Accept(int32(b)); err != nil {
				t.Fatal(err)
			}
		}
		if !m.CanEnd() {
			t.Error("the answer is not complete")
		}
	}
}

// States of many constraints keep no more automata in memory than the bound.
func TestStatesAreBounded(t *testing.T) {
	tokens := newVocabulary(300).tokens()
	s := tokens.states
	total := int64(0)
	for i := range 120 {
		part, err := Schema("p", json.RawMessage(fmt.Sprintf(`{"type":"object","properties":{"a%d":{"type":"string","pattern":"^[a-z]{%d}x(?:ab){5000}$"}},"required":["a%d"]}`, i, i%50, i)))
		if err != nil {
			t.Fatal(err)
		}
		c := New(part)
		total += c.owner.bytes
		m := c.NewMatcher(tokens)
		for _, b := range []byte(fmt.Sprintf(`{"a%d":"`, i)) {
			if err := m.Accept(int32(b)); err != nil {
				t.Fatal(err)
			}
		}
		if m.state == nil {
			t.Fatal("the place is not kept")
		}
		if got := s.known.bytes.Load(); got > maxStateBytes || got < c.owner.bytes {
			t.Fatalf("after %d constraints of %d bytes each, %d bytes count", i, c.owner.bytes, got)
		}
	}
	if total < maxStateBytes*5/4 {
		t.Errorf("all constraints together take %d bytes: the bound is not met", total)
	}
	s.known.values.Purge()
	if got := s.known.bytes.Load(); got != 0 {
		t.Errorf("without states, %d bytes count", got)
	}
}

// Answers of several goroutines share states, and each is held to its constraint.
func TestStatesOfSeveralGoroutines(t *testing.T) {
	v := newVocabulary(500)
	tokens := v.tokens()
	part, err := Schema("p", json.RawMessage(grammartest.Schemas()["large/orders"]))
	if err != nil {
		t.Fatal(err)
	}
	check := validator(t, grammartest.Schemas()["large/orders"])
	c := New(part)
	var running sync.WaitGroup
	for seed := range uint64(6) {
		running.Go(func() {
			r := rand.New(rand.NewPCG(seed, 3))
			for range 3 {
				text, done := drawAnswer(t, r, c.NewMatcher(tokens), v)
				doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
				if err == nil {
					err = check.Validate(doc)
				}
				if !done || err != nil {
					t.Errorf("the answer %q: %v", text, err)
				}
			}
		})
	}
	running.Wait()
}

func TestSizedCache(t *testing.T) {
	c := newSizedCache[int, string](10, 3000)
	for i := range 100 {
		c.add(i, "x", 500)
		c.add(i, "y", 2000)
		if got, ok := c.get(i); !ok || got != "x" {
			t.Fatalf("value %d is %q, %v", i, got, ok)
		}
		if c.bytes.Load() > 3000 || c.bytes.Load() < 0 {
			t.Fatalf("%d bytes", c.bytes.Load())
		}
	}
	if n := c.values.Len(); n != 4 {
		t.Errorf("%d values of 628 bytes are in 3000", n)
	}
	c.add(1000, "x", 1_000_000)
	if n, bytes := c.values.Len(), c.bytes.Load(); n != 0 || bytes != 0 {
		t.Errorf("after one that is too large there are %d values, %d bytes", n, bytes)
	}
	for i := range 30 {
		c.add(i, "x", 0)
	}
	if n, bytes := c.values.Len(), c.bytes.Load(); n != 10 || bytes != 1280 {
		t.Errorf("%d small values, %d bytes", n, bytes)
	}
}
