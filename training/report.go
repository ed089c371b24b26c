package training

import (
	"errors"
	"io/fs"
)

// Report is what a job has come to.
type Report struct {
	Job     string `json:"job"`
	Status  Status `json:"status"`
	Adapter string `json:"adapter"`           // its name
	Version string `json:"version,omitempty"` // "" until there is one

	// On says what Base and Trained were measured on: "validation", or "training" where nothing was held back.
	On      string   `json:"measured_on"`
	Base    *Quality `json:"base,omitempty"`
	Trained *Quality `json:"trained,omitempty"` // as published, or as of the last evaluation

	Curve   []Point  `json:"curve"`      // the training loss by steps
	Eval    []Point  `json:"eval_curve"` // the validation loss by steps
	Samples []Sample `json:"samples"`
}

// Quality is how well the answers of the data are predicted.
type Quality struct {
	Loss       float64 `json:"loss"`       // per token
	Perplexity float64 `json:"perplexity"` // 0 for other methods than Supervised
	Accuracy   float64 `json:"accuracy"`
	Tokens     int     `json:"tokens"`

	Measures map[string]float64 `json:"measures,omitempty"` // further numbers of the job's method
}

// Point is a loss after a step.
type Point struct {
	Step int     `json:"step"`
	Loss float64 `json:"loss"`
}

// maxPoints bounds a curve; neighbours are averaged in longer ones.
const maxPoints = 1000

// Report returns what there is to say of a job, at any time. The error wraps ErrUnknown or ErrDamaged.
func (q *Queue) Report(id string) (*Report, error) {
	job, err := q.Get(id)
	if err != nil {
		return nil, err
	}
	r := &Report{Job: id, Status: job.Status, Adapter: job.Name, On: "training"}
	if job.Result != nil {
		r.Version = job.Result.Version
	}
	if job.Data.Validation > 0 {
		r.On = "validation"
	}
	var s state
	if err := q.disk.readJSON(q.inJob(id, checkpointFile), &s); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(ErrDamaged, err)
	}
	r.Base, r.Trained = s.Base.quality(), s.Last.quality()
	if job.Config.Method != Supervised {
		for _, q := range []*Quality{r.Base, r.Trained} {
			if q != nil {
				q.Perplexity = 0 // its loss is not of tokens
			}
		}
	}
	events, err := q.readEvents(id)
	if err != nil {
		return nil, err
	}
	r.Curve, r.Eval = curves(events)
	if r.Samples, err = q.readSamples(id); err != nil {
		return nil, errors.Join(ErrDamaged, err)
	}
	return r, nil
}

func (s *score) quality() *Quality {
	if s == nil {
		return nil
	}
	return &Quality{s.Loss, perplexity(s.Loss), s.Accuracy, s.Tokens, s.Measures}
}

// curves reads the losses from a job's events. Where a run went back to a checkpoint, what came after that
// checkpoint counts as it was the second time.
func curves(events []Event) (train, eval []Point) {
	for _, e := range events {
		switch m := e.Metrics; {
		case m == nil:
		case m.EvalLoss != nil:
			eval = appendPoint(eval, Point{m.Step, *m.EvalLoss})
		default:
			train = appendPoint(train, Point{m.Step, m.Loss})
		}
	}
	return thin(train, maxPoints), thin(eval, maxPoints)
}

func appendPoint(list []Point, p Point) []Point {
	for len(list) > 0 && list[len(list)-1].Step >= p.Step {
		list = list[:len(list)-1]
	}
	return append(list, p)
}

// thin returns at most n points, each the average of neighbouring ones.
func thin(list []Point, n int) []Point {
	if len(list) <= n {
		return list
	}
	width := (len(list) + n - 1) / n
	var out []Point
	for i := 0; i < len(list); i += width {
		part := list[i:min(i+width, len(list))]
		p := Point{Step: part[len(part)-1].Step}
		for _, q := range part {
			p.Loss += q.Loss / float64(len(part))
		}
		out = append(out, p)
	}
	return out
}
