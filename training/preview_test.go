package training

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/training/dataset"
)

// preview previews a dataset, and wants nothing to be left of it.
func (h *fixture) preview(r CreateRequest) *Preview {
	h.t.Helper()
	p, err := h.Preview(context.Background(), r)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, folder := range []string{"jobs", "tmp"} {
		if left, err := os.ReadDir(filepath.Join(h.dir, "training", folder)); err != nil || folder == "tmp" && len(left) > 0 {
			h.t.Errorf("left in %s: %v, error %v", folder, left, err)
		}
	}
	return p
}

// TestPreviewIsWhatAJobDoes holds a preview against the job that is made of the same request.
func TestPreviewIsWhatAJobDoes(t *testing.T) {
	pairs := strings.Repeat(`{"prompt": "Which?", "chosen": "This one.", "rejected": "That."}`+"\n", 9)
	for name, tc := range map[string]struct {
		data   string
		change func(*Config)
	}{
		"supervised": {conversations(21), nil},
		"packed":     {conversations(21), func(c *Config) { c.Packing, c.MaxLength = true, 200 }},
		"held back":  {conversations(21), func(c *Config) { c.ValidationSplit, c.Epochs = 0.2, 1.5 }},
		"truncated":  {conversations(21), func(c *Config) { c.MaxLength = 50 }},
		"pairs":      {pairs, func(c *Config) { c.Method, c.MaxSteps = DPO, 5 }},
	} {
		h, _ := estimating(t, 1<<20)
		c := smallConfig()
		if tc.change != nil {
			tc.change(&c)
		}
		r := CreateRequest{Name: "bird", Config: c, Training: input(tc.data)}
		before := h.preview(r)
		if before.Speed != nil {
			t.Errorf("%s: before any job the speed is %+v", name, before.Speed)
		}
		r.Training = input(tc.data)
		j, err := h.Create(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		j, _ = h.wait(j.ID)
		if j.Status != Succeeded || before.Steps != j.Progress.Steps || before.Data != j.Data {
			t.Errorf("%s: the preview has %d steps and %+v, the job %d and %+v; error %v", name, before.Steps, before.Data, j.Progress.Steps, j.Data, j.Error)
		}
		if got, want := asJSON(t, before.Config), asJSON(t, j.Config); got != want {
			t.Errorf("%s: the preview's settings are %s, the job's %s", name, got, want)
		}
		if n := float64(j.Progress.Tokens); float64(before.Tokens) < 0.8*n || float64(before.Tokens) > 1.2*n {
			t.Errorf("%s: %d tokens are foretold, and %d were trained", name, before.Tokens, j.Progress.Tokens)
		}
		if before.Encoded != before.Lines || len(before.Faults) > 0 || before.Memory.Refused != "" || before.Memory.Minimum == 0 || before.Memory.Limit != 1<<20 {
			t.Errorf("%s: %+v", name, before)
		}
		r.Training = input(tc.data)
		if after := h.preview(r); after.Speed == nil || after.Speed.Job != j.ID || after.Speed.TokensPerSecond <= 0 {
			t.Errorf("%s: after the job the speed is %+v", name, after.Speed)
		}
	}
}

func TestPreviewShowsTheFirstLines(t *testing.T) {
	h := openFixture(t, t.TempDir(), nil)
	long := `{"prompt": "q", "completion": "` + strings.Repeat("x", 3*previewText) + `"}` + "\n"
	c := smallConfig()
	c.MaxLength = 1000
	p := h.preview(CreateRequest{Config: c, Training: input(conversations(2) + long + conversations(30) + `{"text": "plain"}`)})
	if len(p.Shown) != previewExamples || p.Shown[2].Line != 3 || !p.Shown[0].Whole || p.Shown[0].Part != "example" {
		t.Fatalf("shown are %+v", p.Shown)
	}
	for _, s := range p.Shown {
		tokens, learned, text := 0, 0, 0
		for _, r := range s.Runs {
			tokens, text = tokens+r.Tokens, text+len(r.Text)
			if r.Learned {
				learned += r.Tokens
			}
		}
		if s.Whole && (tokens != s.Tokens || learned != s.Learned) || text > previewText+100 {
			t.Errorf("line %d: %d tokens, %d learned, %d bytes are shown of %d and %d", s.Line, tokens, learned, text, s.Tokens, s.Learned)
		}
	}
	want := []LineForm{{[]string{"messages"}, 32}, {[]string{"prompt", "completion"}, 1}, {[]string{"text"}, 1}}
	if !slices.EqualFunc(p.Forms, want, func(a, b LineForm) bool { return slices.Equal(a.Keys, b.Keys) && a.Lines == b.Lines }) {
		t.Errorf("the lines are %v", p.Forms)
	}
	if p.Data.Truncated != 1 || p.Format != dataset.JSON || p.Bytes == 0 {
		t.Errorf("%+v", p)
	}
}

// TestPreviewOfFaults wants what is wrong to be told, and the good lines to be counted.
func TestPreviewOfFaults(t *testing.T) {
	h, _ := estimating(t, 400_000)
	bad := "{\n{\n" + conversations(3) + `{"prompt": "a", "chosen": "b", "rejected": "c"}` + "\n"
	p := h.preview(CreateRequest{Config: smallConfig(), Training: input(bad), Validation: &Input{Body: strings.NewReader("[]")}})
	if len(p.Faults) != 2 || p.Faults[0].Dataset != "training" || p.Faults[0].Count != 3 || len(p.Faults[0].Bad) != 2 || p.Faults[1].Dataset != "validation" {
		t.Fatalf("faults: %v", p.Faults)
	}
	if first := p.Faults[0].Bad[0]; first.Line != 1 || first.Count != 2 || !slices.Equal(first.Lines, []int{1, 2}) {
		t.Errorf("the first fault is %+v", first)
	}
	if p.Lines != 3 || p.Data.Examples != 3 || p.Steps == 0 || len(p.Shown) != 3 {
		t.Errorf("of three good lines: %+v", p)
	}
	for name, data := range map[string]string{"empty": "", "no dataset": "PK\x03\x04abc", "all bad": "{\n"} {
		p := h.preview(CreateRequest{Config: smallConfig(), Training: input(data)})
		if len(p.Faults) != 1 || p.Steps != 0 || p.Data.Examples != 0 {
			t.Errorf("%s: %+v", name, p)
		}
	}
	dropped := smallConfig()
	dropped.MaxLength, dropped.Truncation = 5, Drop
	p = h.preview(CreateRequest{Config: dropped, Training: input(conversations(4))})
	if len(p.Faults) != 1 || !strings.Contains(p.Faults[0].Reason, "all of its 4 lines were dropped") || p.Data.Dropped != 4 {
		t.Errorf("all lines are dropped: %v, %+v", p.Faults, p.Data)
	}
	one := smallConfig()
	one.ValidationSplit = 0.5
	p = h.preview(CreateRequest{Config: one, Training: input(conversations(1))})
	if len(p.Faults) != 1 || !strings.Contains(p.Faults[0].Reason, "a single line") {
		t.Errorf("one line cannot be divided: %v", p.Faults)
	}
	csv := h.preview(CreateRequest{Config: smallConfig(), Training: Input{Body: strings.NewReader("prompt,completion\na,b\nc,d\n"), Name: "x.csv"}})
	if csv.Format != dataset.CSV || csv.Data.Examples != 2 {
		t.Errorf("a CSV file: %+v", csv)
	}
}

// TestPreviewRefuses wants the errors that Create would give.
func TestPreviewRefuses(t *testing.T) {
	h, _ := estimating(t, 1000)
	c := smallConfig()
	c.LearningRate = 7
	_, err := h.Preview(context.Background(), CreateRequest{Config: c, Training: input(conversations(3))})
	wantError(t, err, ErrConfig, "learning_rate")
	long := `{"prompt": "a", "completion": "` + strings.Repeat("x", 1500) + `"}` + "\n"
	p := h.preview(CreateRequest{Config: smallConfig(), Training: input(long)})
	if !strings.Contains(p.Memory.Refused, runtime.ErrTrainMemory.Error()) || p.Memory.Limit != 1000 {
		t.Errorf("what does not fit: %+v", p.Memory)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = h.Preview(ctx, CreateRequest{Config: smallConfig(), Training: input(conversations(3))})
	wantError(t, err, context.Canceled)
	h.Close()
	_, err = h.Preview(context.Background(), CreateRequest{Config: smallConfig(), Training: input(conversations(3))})
	wantError(t, err, ErrClosed)
}

// TestPreviewOfMoreThanThereIsTimeFor has no time at all but for the first lines: the rest is estimated from them.
func TestPreviewOfMoreThanThereIsTimeFor(t *testing.T) {
	h, _ := estimating(t, 1<<30)
	whole := h.preview(CreateRequest{Config: smallConfig(), Training: input(conversations(200))})
	p := &previewing{q: h.Queue, rec: &record{Job: Job{ID: newID("preview-"), Config: whole.Config}}, out: &Preview{}}
	p.w = &encoding{q: h.Queue, job: &p.rec.Job, enc: h.encoder(&p.rec.Config)}
	p.out.Lines, p.out.Encoded = 200, 20
	for i := range 20 {
		p.w.set.add(0, 30+i%3, 10)
	}
	if err := p.plan(p.w.set, exampleSet{}); err != nil {
		t.Fatal(err)
	}
	if p.out.Steps != whole.Steps || p.out.Tokens != int64(whole.Config.Epochs)*10*(30*20+19) {
		t.Errorf("of a tenth of the lines follow %d steps and %d tokens; of all %d steps", p.out.Steps, p.out.Tokens, whole.Steps)
	}
}
