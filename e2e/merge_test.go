package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMergeCommand writes merged models in several types, and serves them: they answer as the sum of the adapters
// does on the same base, or where weights are rounded to 4 bits again, in its manner.
func TestMergeCommand(t *testing.T) {
	const text = "What is the capital of France?"
	sum := []any{map[string]any{"name": "pirate", "scale": 0.9}, map[string]any{"name": "shout", "scale": 0.1}}
	dir := t.TempDir()
	for _, base := range []string{"demo/demo-base.nf4.gguf", "demo/demo-base.f16.gguf"} {
		b := boot(t, "--adapter-dir", demoAdapters, "--model", base)
		want := b.mustAsk(question(text, "adapter", sum))
		if plain := b.mustAsk(question(text)); plain == want {
			t.Fatalf("the sum changes nothing: %q", plain)
		}
		for _, typ := range []string{"", "q8_0", "nf4"} {
			out := filepath.Join(dir, "merged.gguf")
			// One by its folder, one by its name in the folder of the server, which has it open.
			args := []string{"merge", "--base", base, "--adapter", filepath.Join(demoAdapters, "pirate") + ":0.9", "--adapter", "shout:0.1", "--data", b.data, out}
			if typ != "" {
				args = append(args, "--type", typ)
			}
			status, stdout, stderr := command(t, nil, args...)
			if status != 0 || !strings.Contains(stdout, "pirate*0.9 + shout*0.1") || !strings.Contains(stderr, "merging") {
				t.Fatalf("%s as %q: status %d, %s%s", base, typ, status, stdout, stderr)
			}
			m := boot(t, "--model", out)
			got := m.mustAsk(question(text))
			m.stop()
			rounded := typ == "nf4" || typ == "" && strings.Contains(base, "nf4")
			if !rounded && got != want || rounded && !strings.Contains(got, "Th' capital o' France") {
				t.Errorf("%s as %q answers %q, the sum %q", base, typ, got, want)
			}
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("%d entries in the folder, want the last model: %v", len(left), err)
	}
}

func TestMergeCommandRefuses(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out.gguf")
	base := "demo/demo-base.f16.gguf"
	pirate := filepath.Join(demoAdapters, "pirate")
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"--adapter", pirate, out}, 2, "--base is missing"},
		{[]string{"--base", base, out}, 2, "--adapter is missing"},
		{[]string{"--base", "none.gguf", "--adapter", pirate, out}, 2, "--base"},
		{[]string{"--base", base, "--adapter", pirate, base}, 2, "is the base itself"},
		{[]string{"--base", base, "--adapter", pirate + ":heavy", out}, 2, "after the colon comes a weight"},
		{[]string{"--base", base, "--adapter", "no/such", out}, 2, "there is no such file"},
		{[]string{"--base", base, "--adapter", "nobody", "--data", dir, out}, 1, "in --data"},
		{[]string{"--base", base, "--adapter", "demo/eval.jsonl", out}, 1, "neither a GGUF file nor"},
		{[]string{"--base", base, "--adapter", pirate, "--type", "q1", out}, 2, "want one of nf4"},
		{[]string{"--base", base, "--adapter", pirate}, 2, "want OUT.gguf"},
		{[]string{"--base", base, "--adapter", pirate, dir}, 2, "is a folder"},
		{[]string{"--base", base, "--adapter", pirate, filepath.Join(dir, "none", "out.gguf")}, 2, "none does not exist"},
		{[]string{"--base", base, "--adapter", pirate + ":1e30", out}, 1, "is too large for F16"},
		{[]string{"--base", dir, "--adapter", pirate, out}, 1, "config.json is missing"},
	} {
		status, _, stderr := command(t, nil, append([]string{"merge"}, c.args...)...)
		if status != c.status || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: status %d, %s, want %d and %q", c.args, status, stderr, c.status, c.want)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
