package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestAdapterCommand manages adapters over HTTP, with a key.
func TestAdapterCommand(t *testing.T) {
	b := boot(t, "--api-key", "sesame", "--api-key", "other")
	env := map[string]string{"LORIKEET_SERVER": b.url(), "LORIKEET_API_KEYS": "sesame"}
	for _, step := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"list"}, 0, "NAME"},
		{[]string{"add", "captain", "demo/adapters/pirate"}, 0, "captain@"},
		{[]string{"add", "captain", "demo/adapters/shout"}, 0, "rank 4, alpha 8"},
		{[]string{"list"}, 0, "captain  "},
		{[]string{"versions", "captain"}, 0, "  16    32 "},
		{[]string{"add", "captain", "demo/golden.json"}, 1, "400"},
		{[]string{"rm", "captain"}, 0, "captain removed"},
		{[]string{"rm", "captain"}, 1, "404"},
		{[]string{"list", "--api-key", "wrong"}, 1, "API key"},
	} {
		status, out, errs := command(t, env, append([]string{"adapter"}, step.args...)...)
		if status != step.status || !strings.Contains(out+errs, step.want) {
			t.Errorf("%v: status %d, output %q %q; want %d and %q", step.args, status, out, errs, step.status, step.want)
		}
	}
}

// TestQuantize makes smaller models of the F16 base and serves them; the command, the model's card and what the
// server prints agree on their types and bits.
func TestQuantize(t *testing.T) {
	for _, c := range []struct {
		flags, quantization, bits string
	}{
		{"--type nf4 --block 32", "NF4", "4.917"},
		{"--type nf4 --block 64 --exact", "NF4-64", "4.692"},
		{"--type nf4-dq --head q6_k", "NF4-DQ", "4.392"},
		{"--type q8_0", "Q8_0", "8.5"},
		{"--type q4_0", "Q4_0", "4.7"},
	} {
		t.Run(c.flags, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "small.gguf")
			status, said, bar := command(t, nil, append([]string{"quantize", "demo/demo-base.f16.gguf", out}, strings.Fields(c.flags)...)...)
			if status != 0 || !strings.Contains(said, " "+c.bits) || bar != "quantizing to "+strings.Fields(c.flags)[1]+": 100%\n" {
				t.Fatalf("status %d, output %q, bar %q", status, said, bar)
			}
			b := boot(t, "--model", out, "--alias", "small")
			text := b.mustAsk(question("What is the capital of France?", "model", "small"))
			if !strings.Contains(text, "The capital of France is") {
				t.Errorf("the model answers %q", text)
			}
			f := b.facts()
			if f.Quantization != c.quantization || !strings.HasPrefix(fmt.Sprintf("%.3f", f.BitsPerWeight), c.bits) || f.ResidentBitsPerWeight < f.BitsPerWeight-0.01 || f.ResidentBitsPerWeight > f.BitsPerWeight+1 { // 1: the tied head has a layout of its own
				t.Errorf("the model is %s of %.3f bits, %.3f in memory", f.Quantization, f.BitsPerWeight, f.ResidentBitsPerWeight)
			}
		})
	}
}

// TestServeStops runs the command itself: it prints what it serves and ends when its context does.
func TestServeStops(t *testing.T) {
	p := startProcess(t, "--adapter-dir", demoAdapters, "--log-level", "info", "--log-format", "json")
	p.signal(t)
	if err := p.wait(t); err != nil {
		t.Errorf("%v: %s", err, p.errs.String())
	}
	for _, want := range []string{"serves lorikeet-demo\n", "NF4", "16 requests at once", "3 registered (json, pirate, shout)", "http://127.0.0.1:"} {
		if !strings.Contains(p.out.String(), want) {
			t.Errorf("%q is not in what it prints:\n%s", want, p.out.String())
		}
	}
	for _, want := range []string{`"message":"ready"`, `"message":"stopped"`} {
		if !strings.Contains(p.errs.String(), want) {
			t.Errorf("%q is not in the log:\n%s", want, p.errs.String())
		}
	}
}
