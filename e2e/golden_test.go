package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"testing"
)

// golden is what PyTorch answered, greedily and with at most 80 tokens, for the base and for each adapter:
// demo/golden.json, written by the script that trained the adapters.
type golden map[string][]struct{ Prompt, Answer string }

func readGolden(t *testing.T) (g golden) {
	t.Helper()
	raw, err := os.ReadFile("demo/golden.json")
	if err == nil {
		err = json.Unmarshal(raw, &g)
	}
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, entries := range g {
		n += len(entries)
	}
	if n != 48 {
		t.Fatalf("demo/golden.json has %d answers, want 48", n)
	}
	return g
}

// each calls f for every answer with the request for it and a name.
func (g golden) each(f func(name string, body map[string]any, want string)) {
	for adapter, entries := range g {
		for _, e := range entries {
			body := question(e.Prompt)
			if adapter != "base" {
				body["adapter"] = adapter
			}
			f(fmt.Sprintf("%s: %s", adapter, e.Prompt), body, e.Answer)
		}
	}
}

// f16 boots the base as PyTorch had it, with the adapters that PyTorch trained on it, imported from PEFT.
func f16(t *testing.T) *booted {
	return boot(t, "--model", "demo/demo-base.f16.gguf", "--adapter-dir", "demo/adapters")
}

// TestGoldenAlone asks the 48 questions one after the other.
func TestGoldenAlone(t *testing.T) {
	b, g := f16(t), readGolden(t)
	g.each(func(name string, body map[string]any, want string) {
		if got := b.mustAsk(body); got != want {
			t.Errorf("%s\n got %q\nwant %q", name, got, want)
		}
	})
}

// TestGoldenMixed asks all 48 at once, so that every decode holds rows of the base and of all adapters.
func TestGoldenMixed(t *testing.T) {
	b, g := f16(t), readGolden(t)
	var wg sync.WaitGroup
	g.each(func(name string, body map[string]any, want string) {
		wg.Go(func() {
			if got, err := b.ask(body); err != nil || got != want {
				t.Errorf("%s\n got %q and %v\nwant %q", name, got, err, want)
			}
		})
	})
	wg.Wait()
	if widest := b.metric("lorikeet_batch_adapters_count") - b.metric(`lorikeet_batch_adapters_bucket{le="3"}`); widest < 1 {
		t.Errorf("no decode held rows of all four: the test proves nothing")
	}
}
