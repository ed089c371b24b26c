package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/openapi"
)

// TestExportCommand takes an adapter out of a running server in each form, and serves what came out.
func TestExportCommand(t *testing.T) {
	b := boot(t, "--adapter-dir", demoAdapters)
	dir := t.TempDir()
	export := func(out string, args ...string) {
		t.Helper()
		status, stdout, stderr := command(t, nil, append([]string{"adapter", "export", "json", filepath.Join(dir, out)}, args...)...)
		if status != 0 || !strings.Contains(stdout, out) {
			t.Fatalf("%s: status %d, %s%s", out, status, stdout, stderr)
		}
	}
	server, data := []string{"--server", b.url()}, []string{"--data", b.data}
	export("folder", server...)
	export("a.zip", server...)
	export("b.zip", data...) // of the same folder that the server has open
	export("a.gguf", append(server, "--format", "gguf")...)
	export("b.gguf", append(data, "--format", "gguf")...)
	for _, form := range []string{".zip", ".gguf"} {
		one, err1 := os.ReadFile(filepath.Join(dir, "a"+form))
		two, err2 := os.ReadFile(filepath.Join(dir, "b"+form))
		if err1 != nil || err2 != nil || !bytes.Equal(one, two) {
			t.Errorf("%s: %d bytes from the server, %d from its folder: %v %v", form, len(one), len(two), err1, err2)
		}
	}
	const text = "What is the capital of France?"
	want := b.mustAsk(question(text, "adapter", "json"))
	for _, out := range []string{"folder", "a.zip", "a.gguf"} {
		name := strings.ReplaceAll(out, ".", "-")
		if status, _, stderr := command(t, nil, "adapter", "add", name, filepath.Join(dir, out), "--server", b.url()); status != 0 {
			t.Fatal(stderr)
		}
		if got := b.mustAsk(question(text, "adapter", name)); got != want {
			t.Errorf("%s answers %q, json %q", out, got, want)
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"jsno", filepath.Join(dir, "x"), "--server", b.url()}, "did you mean json?"},
		{[]string{"jsno", filepath.Join(dir, "x"), "--data", b.data}, "did you mean json?"},
		{[]string{"json", filepath.Join(dir, "folder"), "--server", b.url()}, "is there already"},
		{[]string{"json", filepath.Join(dir, "x"), "--data", dir}, "is not a folder that adapters are stored in"},
	} {
		if status, _, stderr := command(t, nil, append([]string{"adapter", "export"}, c.args...)...); status == 0 || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: status %d, %s", c.args, status, stderr)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q %v", left, err)
	}
}

// TestMergedAdapterAnswersAsTheSum merges by cat, and asks the merged adapter and the sum the same.
func TestMergedAdapterAnswersAsTheSum(t *testing.T) {
	b := boot(t, "--adapter-dir", demoAdapters)
	status, out, stderr := command(t, nil, "adapter", "merge", "blend", "pirate:0.5", "shout:0.25", "--server", b.url())
	if status != 0 || !strings.Contains(out, "blend@") || !strings.Contains(out, "rank 20") {
		t.Fatalf("status %d, %s%s", status, out, stderr)
	}
	sum := []any{map[string]any{"name": "pirate", "scale": 0.5}, map[string]any{"name": "shout", "scale": 0.25}}
	for _, text := range []string{"What is the capital of France?", "What is 12 plus 9?", "What sound does a dog make?"} {
		want := b.mustAsk(question(text, "adapter", sum))
		if got := b.mustAsk(question(text, "adapter", "blend")); got != want {
			t.Errorf("%s: the merged adapter answers %q, the sum %q", text, got, want)
		}
	}
	status, _, stderr = command(t, nil, "adapter", "merge", "blend", "pirate", "shout", "--method", "linear", "--server", b.url())
	if status != 1 || !strings.Contains(stderr, "rank 16") || !strings.Contains(stderr, "rank 4") {
		t.Errorf("status %d, %s", status, stderr)
	}
}

// TestTooLargeForAdapterMemory sends an adapter that could never be loaded: the answer says so at once, with the numbers.
func TestTooLargeForAdapterMemory(t *testing.T) {
	b := boot(t, "--adapter-memory", "100KiB")
	status, _, stderr := command(t, nil, "adapter", "add", "pirate", filepath.Join(demoAdapters, "pirate"), "--server", b.url())
	if status != 1 || !strings.Contains(stderr, "bytes of memory, adapters may take 102400") {
		t.Errorf("status %d, %s", status, stderr)
	}
	var list openapi.AdapterList
	if b.get("/adapters", &list); len(list.Data) > 0 {
		t.Errorf("it is registered: %+v", list.Data)
	}
}
