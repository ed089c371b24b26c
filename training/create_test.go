package training

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// TestBadDataset has lines that cannot be learned from, at once and late.
func TestBadDataset(t *testing.T) {
	h := openFixture(t, t.TempDir(), nil)
	data := conversations(3) + "{\n" + `{"chosen": "a", "rejected": "b"}` + "\n" + conversations(1)
	r := CreateRequest{Name: "bird", Config: smallConfig(), Training: input(data)}
	_, err := h.Create(context.Background(), r)
	wantError(t, err, ErrDataset, "2 bad lines", "line 4 is not JSON", "line 5 is preference data")
	if list, _, _ := h.List("", 0); len(list) != 0 {
		t.Errorf("a refused job is listed: %v", list)
	}
	r.Training, r.ValidateLater = input(data), true
	j, err := h.Create(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	j, events := h.wait(j.ID)
	if j.Status != Failed || j.Error == nil || j.Error.Code != CodeDataset || j.Error.Param != "training_file" || len(j.Error.Lines) != 2 {
		t.Errorf("ended: %s", asJSON(t, j))
	}
	if last := events[len(events)-1]; last.Level != LevelError || last.Status != Failed || !strings.Contains(last.Message, "line 5") {
		t.Errorf("the last event is %+v", last)
	}
	left, err := os.ReadDir(filepath.Join(h.dir, "training", "tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in tmp: %v, error %v", left, err)
	}
}

func TestNothingLeftToLearn(t *testing.T) {
	h := openFixture(t, t.TempDir(), nil)
	c := smallConfig()
	c.MaxLength, c.Truncation = 10, Drop
	j := h.create("bird", c)
	j, _ = h.wait(j.ID)
	if j.Status != Failed || !strings.Contains(j.Error.Message, "all of its 20 lines were dropped; max_length is 10") {
		t.Errorf("ended: %s", asJSON(t, j))
	}
}

// TestExcludedLinesAreReported wants the reason why lines were left out that say so themselves: it is not their length.
func TestExcludedLinesAreReported(t *testing.T) {
	h := openFixture(t, t.TempDir(), nil)
	create := func(lines string) (Job, []Event) {
		job, err := h.Create(context.Background(), CreateRequest{Name: "bird", Config: smallConfig(), Training: Input{Body: strings.NewReader(lines)}})
		if err != nil {
			t.Fatal(err)
		}
		return h.wait(job.ID)
	}
	const kept, left = `{"prompt": "q", "completion": "a"}` + "\n", `{"prompt": "q", "completion": "a", "weight": 0}` + "\n"
	if j, _ := create(left + left); j.Status != Failed || !strings.Contains(j.Error.Message, "of all lines, 2 say by a flag, such as weight 0") {
		t.Errorf("ended: %s", asJSON(t, j))
	}
	j, events := create(kept + left)
	if j.Status != Succeeded || j.Data.Dropped != 1 {
		t.Fatalf("ended: %s", asJSON(t, j))
	}
	if !slices.ContainsFunc(events, func(e Event) bool { return strings.Contains(e.Message, "of all lines, 1 say by a flag") }) {
		t.Errorf("no event says it: %v", events)
	}
}

// TestCreateRefuses wants the field at fault named, and nothing left behind.
func TestCreateRefuses(t *testing.T) {
	h := openFixture(t, t.TempDir(), func(o *Options) { o.MaxDataset = 1000 })
	for _, tc := range []struct {
		change func(*CreateRequest)
		want   error
		part   string
	}{
		{func(r *CreateRequest) { r.Name = "a/b" }, adapters.ErrName, "a/b"},
		{func(r *CreateRequest) { r.Config.Rank = 0 }, ErrConfig, "r is 0"},
		{func(r *CreateRequest) { r.Config.MaxLength = 9999 }, ErrConfig, "max_length is 9999"},
		{func(r *CreateRequest) { r.Config.TargetModules = Names{"c_attn"} }, ErrConfig, `target_modules has "c_attn"`},
		{func(r *CreateRequest) { r.Config.TargetModules = Names{AllLinear, "lm_head"} }, ErrConfig, "the fake has no head"},
		{func(r *CreateRequest) { r.Config.RankPattern = []byte(`{"q_proj": 5000}`) }, ErrConfig, `rank_pattern "q_proj" is not a whole number from 1 to`},
		{func(r *CreateRequest) { r.Config.Layers = Layers{7} }, ErrConfig, "layers_to_transform has 7"},
		{func(r *CreateRequest) { r.Config.Patience = 2 }, ErrConfig, "early_stopping_patience needs"},
		{func(r *CreateRequest) { v := input(conversations(1)); r.Validation, r.Config.ValidationSplit = &v, 0.1 }, ErrConfig, "validation_split"},
		{func(r *CreateRequest) { v := input(""); r.Validation = &v }, ErrDataset, "the validation data has no examples"},
		{func(r *CreateRequest) { r.Training = input(conversations(100)) }, ErrTooLarge, "the training data: too large"},
		{func(r *CreateRequest) {
			r.Training = Input{Body: io.MultiReader(strings.NewReader(conversations(1)), broken{})}
		}, io.ErrUnexpectedEOF, "training"},
	} {
		r := CreateRequest{Name: "bird", Config: smallConfig(), Training: input(conversations(2))}
		tc.change(&r)
		_, err := h.Create(context.Background(), r)
		wantError(t, err, tc.want, tc.part)
	}
	for _, folder := range []string{"jobs", "tmp"} {
		left, err := os.ReadDir(filepath.Join(h.dir, "training", folder))
		if err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v, error %v", folder, left, err)
		}
	}
}

// broken is a body whose client went away.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestValidationData has datasets that leave nothing to train or to validate on.
func TestValidationData(t *testing.T) {
	h := openFixture(t, t.TempDir(), nil)
	long := `{"prompt": "a", "completion": "` + strings.Repeat("x", 300) + `"}`
	for name, tc := range map[string]struct {
		training, validation string
		split                float64
		part, param          string
	}{
		"a single line":    {conversations(1), "", 0.1, "has a single line: none can be held back", "training_file"},
		"all are too long": {conversations(3), long, 0, "validation data has nothing to learn from", "validation_file"},
		"two lines":        {conversations(2), "", 0.1, "", ""},
	} {
		c := smallConfig()
		c.MaxLength, c.Truncation, c.ValidationSplit = 200, Drop, tc.split
		r := CreateRequest{Name: "bird", Config: c, Training: input(tc.training)}
		if tc.validation != "" {
			v := input(tc.validation)
			r.Validation = &v
		}
		j, err := h.Create(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		j, _ = h.wait(j.ID)
		switch {
		case tc.part == "" && (j.Status != Succeeded || j.Data.Examples != 1 || j.Data.Validation != 1):
			t.Errorf("%s: ended: %s", name, asJSON(t, j))
		case tc.part != "" && (j.Status != Failed || !strings.Contains(j.Error.Message, tc.part) || j.Error.Param != tc.param):
			t.Errorf("%s: ended: %s", name, asJSON(t, j))
		}
	}
}

// TestTruncationIsReported wants a warning with the counts among the events.
func TestTruncationIsReported(t *testing.T) {
	h := openFixture(t, t.TempDir(), nil)
	c := smallConfig()
	c.MaxLength = 45
	j, events := h.wait(h.create("bird", c).ID)
	if j.Status != Succeeded || j.Data.Truncated == 0 || j.Data.Longest != 45 {
		t.Fatalf("ended: %s", asJSON(t, j))
	}
	want := fmt.Sprintf("Of the examples, %d were truncated and 0 dropped: max_length is 45", j.Data.Truncated)
	if !slices.ContainsFunc(events, func(e Event) bool { return e.Level == LevelWarn && strings.Contains(e.Message, want) }) {
		t.Errorf("no event says %q", want)
	}
}

// TestCreateRefusesWhatIsNotPrinted has reasoning that the base's template leaves out: the job is not accepted, or fails
// where the file is read late.
func TestCreateRefusesWhatIsNotPrinted(t *testing.T) {
	h := openFixture(t, t.TempDir(), nil)
	data := conversations(3) + `{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning_content": "hm"}]}`
	const want = "line 4 has a message 2 with reasoning_content, which the base's chat template does not print"
	r := CreateRequest{Name: "bird", Config: smallConfig(), Training: input(data)}
	_, err := h.Create(context.Background(), r)
	wantError(t, err, ErrDataset, want)
	r.Training, r.ValidateLater = input(data), true
	j, err := h.Create(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	if j, _ = h.wait(j.ID); j.Status != Failed || !strings.Contains(j.Error.Message, want) {
		t.Errorf("ended: %s", asJSON(t, j))
	}
}

// TestCreateEndsWithItsContext ends the context in the middle: no job is made, and nothing is left.
func TestCreateEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	h := openFixture(t, t.TempDir(), func(o *Options) {
		o.Estimate = func(runtime.TrainSpec) (m runtime.TrainMemory, err error) { cancel(); return m, nil }
	})
	_, err := h.Create(ctx, CreateRequest{Name: "bird", Config: smallConfig(), Training: input(conversations(20))})
	wantError(t, err, context.Canceled)
	for _, folder := range []string{"jobs", "tmp"} {
		left, err := os.ReadDir(filepath.Join(h.dir, "training", folder))
		if err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v, error %v", folder, left, err)
		}
	}
}
