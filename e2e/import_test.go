package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/quant/huggingface/hftest"
)

// demoFolder turns the demo base into a Hugging Face folder.
func demoFolder(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "Demo-5M")
	hftest.FromGGUF(t, "demo/demo-base.f16.gguf", dir, 2)
	return dir
}

// TestImport imports the demo base from a folder, in types of ours and in one of llama.cpp's, and serves it.
func TestImport(t *testing.T) {
	dir := demoFolder(t)
	for _, typ := range []string{"nf4", "keep", "q4_0"} {
		t.Run(typ, func(t *testing.T) {
			folder := t.TempDir()
			out := filepath.Join(folder, "out.gguf")
			status, said, bar := command(t, nil, "import", dir, out, "--type", typ)
			if status != 0 || !strings.Contains(said, "llama, "+typ) || !strings.Contains(bar, "importing as "+typ+": 100%\n") || !plainLines(bar) {
				t.Fatalf("status %d, output %q, bar %q", status, said, bar)
			}
			if left, err := os.ReadDir(folder); err != nil || len(left) != 1 {
				t.Errorf("%v is left (%v)", left, err)
			}
			b := boot(t, "--model", out)
			if name := b.name(); !strings.Contains(strings.ToLower(name), "demo-5m") {
				t.Errorf("the model is called %q", name)
			}
			if text := b.mustAsk(question("What is the capital of France?")); !strings.Contains(text, "The capital of France is") {
				t.Errorf("the %s model answers %q", typ, text)
			}
		})
	}
}

// TestImportedNF4IsTheDemo: the folder's NF4 file has every weight of the embedded one, which was made from the GGUF.
func TestImportedNF4IsTheDemo(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.gguf")
	if status, _, errs := command(t, nil, "import", demoFolder(t), out); status != 0 {
		t.Fatal(errs)
	}
	got, err := quant.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	want, err := quant.Open("demo/demo-base.nf4.gguf")
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	if len(got.Tensors) != len(want.Tensors) {
		t.Errorf("%d tensors, not %d", len(got.Tensors), len(want.Tensors))
	}
	for _, tensor := range want.Tensors {
		a, err := got.ReadF32(tensor.Name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := want.ReadF32(tensor.Name)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(a, b) {
			t.Errorf("tensor %s has other weights", tensor.Name)
		}
	}
}

// TestImportRefusals are messages of wrong command lines and wrong folders.
func TestImportRefusals(t *testing.T) {
	empty := t.TempDir()
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"import", empty}, 2, "want DIR and OUT.gguf"},
		{[]string{"import", "go.mod", "out.gguf"}, 2, "DIR: go.mod is not a folder"},
		{[]string{"import", empty, filepath.Join(empty, "out.gguf"), "--type", "int3"}, 2, "want one of nf4, nf4-dq, keep, "},
		{[]string{"import", empty, filepath.Join(empty, "out.gguf")}, 1, "config.json is missing"},
		{[]string{"import", empty, empty}, 2, "OUT.gguf: " + empty + " is a folder"},
		{[]string{"import", empty, filepath.Join(empty, "none", "out.gguf")}, 2, "none does not exist"},
		{[]string{"quantize", "demo/demo-base.f16.gguf", empty}, 2, "OUT.gguf: " + empty + " is a folder"},
		{[]string{"quantize", "demo/demo-base.f16.gguf", filepath.Join(empty, "none", "x.gguf"), "--type", "q4_0"}, 2, "none does not exist"},
		{[]string{"quantize", empty, filepath.Join(empty, "x.gguf")}, 2, "lorikeet import"},
		{[]string{"quantize", "demo/demo-base.nf4.gguf", filepath.Join(empty, "x.gguf"), "--type", "q4_0"}, 1, "NF4 already"},
		{[]string{"import", empty, filepath.Join(empty, "out.gguf"), "--type", "q4_0"}, 1, "config.json is missing"},
		{[]string{"serve", "--data", t.TempDir(), "--model", empty}, 2, "--model: " + empty + " is a folder without config.json"},
		{[]string{"serve", "--model", empty, "--import-type", "x"}, 2, "want one of nf4, nf4-dq, keep, "},
	} {
		status, out, errs := command(t, nil, c.args...)
		if status != c.status || !strings.Contains(errs, c.want) {
			t.Errorf("%q: status %d, %q %q, want %d and %q", c.args, status, out, errs, c.status, c.want)
		}
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("%v is left (%v)", left, err)
	}
}

// TestServeFolder serves a folder as it is: the first start converts it, the second finds what the first made.
func TestServeFolder(t *testing.T) {
	dir, data := demoFolder(t), t.TempDir()
	for _, want := range []string{"converting the folder, once", "the folder was converted before"} {
		out, errs := serveUntilReady(t, nil, "--model", dir, "--data", data, "--log-format", "json")
		if !strings.Contains(errs, want) || !strings.Contains(out, "NF4") {
			t.Errorf("%q is not in the log:\n%s%s", want, errs, out)
		}
	}
	files, err := filepath.Glob(filepath.Join(data, "models", "converted", "*"))
	if err != nil || len(files) != 1 {
		t.Errorf("the data folder holds %q (%v)", files, err)
	}
}

// TestImportIsRepeatable: an adapter remembers its base by the file's fingerprint, so that the same folder must always
// give the same file.
func TestImportIsRepeatable(t *testing.T) {
	dir := demoFolder(t)
	var first []byte
	for i := range 3 {
		out := filepath.Join(t.TempDir(), fmt.Sprint(i))
		if status, _, errs := command(t, nil, "import", dir, out); status != 0 {
			t.Fatal(errs)
		}
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && !bytes.Equal(data, first) {
			t.Error("another file was written")
		}
		first = data
	}
}
