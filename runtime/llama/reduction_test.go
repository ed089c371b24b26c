//go:build cgo && linux

package llama

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama/devicetest"
)

// withTwins returns the path of a model in which every second row of the head is the one before it: each logit occurs twice.
func withTwins(t *testing.T) string {
	t.Helper()
	f := openQuant(t, tiny.file(t))
	path := filepath.Join(t.TempDir(), "twins.gguf")
	m := f.Metadata.Clone()
	err := quant.WriteFile(path, &m, f.Tensors, func(i int, w io.Writer) error {
		x, err := f.ReadF32(f.Tensors[i].Name)
		if err != nil {
			return err
		}
		if f.Tensors[i].Name == "output.weight" {
			for row := 1; row < tiny.vocab; row += 2 {
				copy(x[row*tiny.embedding:(row+1)*tiny.embedding], x[(row-1)*tiny.embedding:])
			}
		}
		return writeF32(w, x)
	})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// What a device finds of the logits gives the tokens that all of them give, and only rows that need all copy them.
func TestLogitsAreReducedOnADevice(t *testing.T) {
	samplings := map[string]runtime.Sampling{
		"greedy": {}, "top 1": {Temperature: 1, TopK: 1, Seed: 3}, "top 40": {Temperature: 1.5, TopK: 40, Seed: 4},
		"top 40 and more": {Temperature: 1, TopK: 40, TopP: 0.9, MinP: 0.05, Seed: 5}, "top 100": {Temperature: 2, TopK: 100, Seed: 6},
		"all": {Temperature: 1, Seed: 7}, "penalties": {RepeatPenalty: 1.3, RepeatLastN: 64},
	}
	names := []string{"greedy", "top 1", "top 40", "top 40 and more", "top 100", "all", "penalties"}
	for _, c := range []struct {
		name    string
		path    string
		backend devicetest.Backend
		copied  int // rows of a step, of those that have a name
	}{
		{"distinct on CUDA and Vulkan", tiny.file(t), devicetest.CUDA | devicetest.Vulkan, 2},
		{"twins", withTwins(t), devicetest.CUDA | devicetest.Vulkan, -1}, // as many as the ties ask for
	} {
		t.Run(c.name, func(t *testing.T) {
			devicetest.Register(t, c.backend)
			m := openModel(t, deviceOptions(t, Options{Path: c.path}))
			run := func(full bool) (tokens [][]runtime.Token, copied int) {
				d := openDevice(t, m, DeviceOptions{Sequences: 8, Cells: 512, Threads: 1, fullLogits: full})
				samplers := map[string]runtime.Sampler{}
				for name, s := range samplings {
					sampler, err := m.NewSampler(s, nil)
					if err != nil {
						t.Fatal(err)
					}
					defer sampler.Close()
					samplers[name] = sampler
				}
				last := make([]runtime.Token, len(names))
				for pos := range 24 {
					var rows []runtime.Row
					for seq, name := range names {
						if pos == 0 {
							last[seq] = runtime.Token(seq * 31)
						}
						rows = append(rows, runtime.Row{Token: last[seq], Seq: seq, Pos: pos, Sampler: samplers[name], Top: -1})
					}
					choices, err := d.Decode(rows)
					if err != nil {
						t.Fatal(err)
					}
					for seq := range names {
						if choices[seq].Err != nil {
							t.Fatalf("%s: %v", names[seq], choices[seq].Err)
						}
						last[seq] = choices[seq].Token
					}
					tokens = append(tokens, slices.Clone(last))
				}
				return tokens, d.logitsCopied()
			}
			want, none := run(true)
			got, copied := run(false)
			if none != 0 {
				t.Errorf("where nothing is reduced, %d rows were copied one by one", none)
			}
			for pos := range want {
				for seq, name := range names {
					if got[pos][seq] != want[pos][seq] {
						t.Fatalf("%s, step %d: token %d, want %d", name, pos, got[pos][seq], want[pos][seq])
					}
				}
			}
			t.Logf("%d rows of %d were copied", copied, len(want)*len(names))
			if c.copied >= 0 && copied != c.copied*len(want) {
				t.Errorf("want %d", c.copied*len(want))
			}
			if c.copied < 0 && copied < 3*len(want) {
				t.Error("ties are decided by the device")
			}
		})
	}
}

// Log-probabilities, masks and scores see all logits, in a batch with rows that do not.
func TestReducedBesideWhole(t *testing.T) {
	m := openModel(t, deviceOptions(t, Options{Path: tiny.file(t)}))
	decode := func(full bool) string {
		d := openDevice(t, m, DeviceOptions{Sequences: 4, Cells: 256, Threads: 1, fullLogits: full})
		choices, err := d.Decode([]runtime.Row{
			{Token: 5, Seq: 0, Pos: 0, Sampler: greedy(t, m), Top: -1},
			{Token: 6, Seq: 1, Pos: 0, Sampler: greedy(t, m), Top: 3},
			{Token: 7, Seq: 2, Pos: 0, Scored: true, Next: 9, Top: 2},
			{Token: 8, Seq: 3, Pos: 0, Hidden: true, Top: -1},
			{Token: 9, Seq: 3, Pos: 1, Sampler: greedy(t, m), Top: -1, Hidden: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := 2; !full && d.logitsCopied() != want {
			t.Errorf("%d rows of logits were copied, want %d", d.logitsCopied(), want)
		}
		return fmt.Sprintf("%+v", choices)
	}
	if got, want := decode(false), decode(true); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
