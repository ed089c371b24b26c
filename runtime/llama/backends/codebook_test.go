package backends

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// numbersAfter returns the numbers of the array whose declaration in the file has that name.
func numbersAfter(t *testing.T, file, name string) []float64 {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), name+"[16] = {")
	list, _, closed := strings.Cut(rest, "}")
	if !found || !closed {
		t.Fatalf("%s declares no array %s", file, name)
	}
	var numbers []float64
	for _, s := range regexp.MustCompile(`-?[0-9.]+`).FindAllString(list, -1) {
		n, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, n)
	}
	return numbers
}

// The codebooks that the back ends are built with are that of the files.
func TestCodebooks(t *testing.T) {
	var floats, integers []float64
	for _, v := range quant.NF4Codebook {
		floats = append(floats, float64(v))
		integers = append(integers, math.Round(127*float64(v)))
	}
	for _, c := range []struct {
		file, name string
		want       []float64
	}{
		{"vulkan/nf4_codebook.glsl", "kvalues_iq4nl_const", floats},
		{"cuda/nf4_codebook.cuh", "nf4_floats", floats},
		{"cuda/nf4_codebook.cuh", "nf4_integers", integers},
	} {
		got := numbersAfter(t, c.file, c.name)
		if !slices.EqualFunc(got, c.want, func(a, b float64) bool { return float32(a) == float32(b) }) {
			t.Errorf("%s: %s is %v, want %v", c.file, c.name, got, c.want)
		}
	}
}

// What the build scripts put into ggml's sources is in the functions of IQ4_NL alone, and another version of a source, in
// which a place is missing, is refused.
func TestSourcesAreRewritten(t *testing.T) {
	ggml := ggmlFolder(t)
	for _, c := range []struct{ script, source, mark, table string }{
		{"vulkan/nf4_codebook.awk", "ggml-vulkan/vulkan-shaders/types.glsl", `#include "nf4_codebook.glsl"`, "kvalues_iq4nl_const[16]"},
		{"cuda/nf4_codebook.awk", "ggml-cuda/convert.cu", "nf4_floats[", "dequantize_block_iq4_nl("},
		{"cuda/nf4_codebook.awk", "ggml-cuda/vecdotq.cuh", "nf4_integers)", "vec_dot_iq4_nl_q8_1("},
		{"cuda/nf4_codebook.awk", "ggml-cuda/mmq.cuh", "nf4_integers)", "load_tiles_iq4_nl("},
	} {
		source := filepath.Join(ggml, c.source)
		original, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		written, err := exec.Command("awk", "-f", c.script, source).Output()
		if err != nil {
			t.Fatalf("%s: %v", c.source, err)
		}

		if !strings.Contains(string(written), c.mark) || !strings.Contains(string(written), "kvalues_iq4nl") {
			t.Errorf("%s: want %s, and the table of IQ4_XS as it was", c.source, c.mark)
		}
		if strings.Contains(string(original), c.mark) {
			t.Errorf("%s has %s already", c.source, c.mark)
		}
		other := filepath.Join(t.TempDir(), filepath.Base(source))
		if err := os.WriteFile(other, []byte(strings.ReplaceAll(string(original), c.table, "another")), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("awk", "-f", c.script, other).CombinedOutput(); err == nil {
			t.Errorf("%s without %s is accepted", c.source, c.table)
		} else if !strings.Contains(string(out), "expected") {
			t.Errorf("%s without %s: the message does not say what was expected", c.source, c.table)
		}
	}
}

func ggmlFolder(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/ollama/ollama").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "ml/backend/ggml/ggml/src")
}
