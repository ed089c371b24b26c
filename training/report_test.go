package training

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// TestReport looks at a report with answers, while it is made and when it is done.
func TestReport(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	h := openFixture(t, t.TempDir(), func(o *Options) {
		o.Answer = func(ctx context.Context, adapter string, messages []runtime.Message) (string, error) {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, adapter)
			return fmt.Sprintf("%q to %s", adapter, messages[len(messages)-1].Content), nil
		}
	})
	v := input(`{"messages": [{"role": "user", "content": "What is 3?"}, {"role": "assistant", "content": "It is so."}]}
{"text": "no question"}
{"prompt": "What is 4?", "completion": "It is so. It is so."}`)
	j, err := h.Create(context.Background(), CreateRequest{Name: "bird", Config: smallConfig(), Training: input(conversations(20)), Validation: &v})
	if err != nil {
		t.Fatal(err)
	}
	j, _ = h.wait(j.ID)
	r, err := h.Report(j.ID)
	if err != nil || r.Status != Succeeded || r.Adapter != "bird" || r.Version != j.Result.Version || r.On != "validation" {
		t.Fatalf("%s, error %v", asJSON(t, r), err)
	}
	if len(r.Curve) != 15 || r.Curve[14].Step != 15 || len(r.Eval) != 4 || r.Eval[0].Step != 0 {
		t.Errorf("curves %v and %v", r.Curve, r.Eval)
	}
	if r.Base == nil || r.Trained == nil || r.Trained.Loss >= r.Base.Loss || r.Trained.Perplexity >= r.Base.Perplexity || r.Base.Tokens != r.Trained.Tokens {
		t.Errorf("base %+v, trained %+v", r.Base, r.Trained)
	}
	if len(r.Samples) != 2 || r.Samples[1].Reference != "It is so. It is so." || *r.Samples[1].Base != `"" to What is 4?` ||
		*r.Samples[0].Adapter != fmt.Sprintf(`"bird@%s" to What is 3?`, j.Result.Version) {
		t.Errorf("samples %s", asJSON(t, r.Samples))
	}
	checkSVG(t, r.SVG(), "training loss", "validation loss", "base model")
	if asJSON(t, r) == "" || len(asked) != 4 {
		t.Errorf("asked %v", asked)
	}
	_, err = h.Report("ftjob-none")
	wantError(t, err, ErrUnknown)
}

// checkSVG wants well-formed XML with the texts.
func checkSVG(t *testing.T, svg string, texts ...string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("the picture is not XML: %v\n%s", err, svg)
		}
	}
	for _, part := range append(texts, "<svg", "</svg>") {
		if !strings.Contains(svg, part) {
			t.Errorf("the picture has no %q", part)
		}
	}
	if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Errorf("the picture has points that are no numbers:\n%s", svg)
	}
}

// TestReportWithoutAnswers has a job without validation whose answers fail, and one that never began.
func TestReportWithoutAnswers(t *testing.T) {
	h := openFixture(t, t.TempDir(), func(o *Options) {
		o.Answer = func(context.Context, string, []runtime.Message) (string, error) { return "", io.ErrNoProgress }
	})
	j, events := h.wait(h.create("bird", smallConfig()).ID)
	r, err := h.Report(j.ID)
	if err != nil || j.Status != Succeeded || r.On != "training" || r.Base == nil || r.Trained.Loss >= r.Base.Loss || len(r.Samples) != 3 || r.Samples[0].Base != nil {
		t.Errorf("%s, error %v", asJSON(t, r), err)
	}
	if !strings.Contains(asJSON(t, events), "The report lacks some of its sample answers") {
		t.Error("no event tells that the answers failed")
	}
	checkSVG(t, r.SVG(), "training loss", "base model")
	checkSVG(t, (&Report{Adapter: `<&">`}).SVG())
	checkSVG(t, (&Report{Curve: []Point{{1, 0}}}).SVG())
}

// TestCurvesOfAnInterruptedRun goes back to a checkpoint.
func TestCurvesOfAnInterruptedRun(t *testing.T) {
	var events []Event
	see := func(step int, loss float64, eval bool) {
		m := &Metrics{Step: step, Loss: loss}
		if eval {
			m.EvalLoss = &loss
		}
		events = append(events, Event{Metrics: m})
	}
	see(1, 1, false)
	see(2, 2, false)
	see(2, 20, true)
	see(3, 3, false)
	events = append(events, Event{Message: "Going on from the checkpoint at step 1."})
	see(2, 2.5, false)
	see(2, 25, true)
	train, eval := curves(events)
	if fmt.Sprint(train, eval) != "[{1 1} {2 2.5}] [{2 25}]" {
		t.Errorf("%v %v", train, eval)
	}
	var long []Point
	for i := range 2500 {
		long = append(long, Point{i + 1, float64(i % 2)})
	}
	if got := thin(long, 1000); len(got) != 834 || got[833].Step != 2500 || got[0].Loss != 1.0/3 {
		t.Errorf("%d points, %v first", len(got), got[0])
	}
}
