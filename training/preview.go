package training

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/training/dataset"
)

// This file shows what a job would learn before it is made, and what it would cost. Nothing of it is kept.

const (
	// previewTime is how long datasets are tokenized for a preview; what is left then is read and checked, and not counted.
	previewTime = 10 * time.Second
	// previewExamples is how many lines are shown, previewText about how many bytes of each sequence.
	previewExamples, previewText = 5, 16 << 10
	// previewForms is how many kinds of lines are counted.
	previewForms = 10
)

// Preview is what a job would learn, and what it would cost.
type Preview struct {
	Config Config         // as it would be used
	Format dataset.Format // of the file
	Bytes  int64          // of the file
	Forms  []LineForm     // the kinds of lines that it has, the most frequent first
	Faults []*DatasetError

	// Lines are those that can be read. Of them, Encoded were tokenized in the time that there is, which Data and Shown are of.
	// What follows is estimated from them where they are not all.
	Lines, Encoded int
	Data           Data
	Shown          []ShownSequence

	Steps, StepsPerEpoch int
	Tokens               int64         // trained on in all steps
	Memory               PreviewMemory // zero where there are no examples
	Speed                *Speed        // of an earlier job; nil where there is none to compare with
}

// LineForm is a kind of lines: those whose contents stand under the same keys.
type LineForm struct {
	Keys  []string
	Lines int
}

// ShownSequence is a sequence of tokens as it would be learned.
type ShownSequence struct {
	Line    int
	Part    string // "example", "chosen", "rejected", "desirable", "undesirable" or "prompt"
	Tokens  int
	Learned int // of them
	Runs    []dataset.Run
	Whole   bool // Runs are all of it
}

// PreviewMemory is what the job's Trainer would take, with what is reserved for the run.
type PreviewMemory struct {
	Bytes   int64  // as much as keeps activations where others leave it
	Minimum int64  // the least
	Limit   int64  // of all who train; 0: none
	Kept    int    // layers whose activations are kept
	Refused string // why it cannot be trained; "" where it can
}

// Speed is how fast an earlier job on the same base, of the same method, was.
type Speed struct {
	TokensPerSecond float64
	Job, Name       string // its id, and the name of its adapter
}

// Preview reads the datasets of a request and shows what a job of it would do. Lines with faults are reported and left out. Name,
// Metadata and Request are not looked at. The error wraps ErrConfig (a FieldError), ErrTooLarge, runtime.ErrTrain or ErrClosed,
// or is ctx's.
func (q *Queue) Preview(ctx context.Context, r CreateRequest) (*Preview, error) {
	if err := q.checkConfig(&r.Config, r.Validation != nil); err != nil {
		return nil, err
	}
	if err := q.checkReward(&r.Config, r.Owner); err != nil {
		return nil, err
	}
	if q.ctx.Err() != nil {
		return nil, ErrClosed
	}
	rec := record{Job: Job{ID: newID("preview-"), Config: r.Config, Owner: r.Owner}}
	tmp := q.disk.path("tmp", rec.ID)
	if err := q.disk.mkdir(tmp); err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	p := &previewing{q: q, rec: &rec, out: &Preview{}}
	err := q.oneAtATime(ctx, func() (err error) { // so that one copy is on the disk and one line in memory
		if r.From != nil {
			if rec.Start, err = q.copyStart(tmp, *r.From, &rec.Config); err != nil {
				return err
			}
		}
		p.w = &encoding{q: q, job: &rec.Job, enc: q.encoder(&rec.Config), set: exampleSet{kind: rec.Config.kind()}}
		if err := p.copy(ctx, &r); err != nil {
			return err
		}
		return p.look(ctx, r.Validation != nil)
	})
	if err != nil {
		return nil, err
	}
	p.out.Config = rec.Config
	return p.out, nil
}

// previewing is a preview while it is made.
type previewing struct {
	q    *Queue
	rec  *record
	w    *encoding // without a file
	out  *Preview
	ends time.Time // when no more is tokenized
}

// copy copies the datasets to temporary files.
func (p *previewing) copy(ctx context.Context, r *CreateRequest) (err error) {
	if p.rec.Training, err = p.q.copyInput(ctx, p.rec, trainingFile, r.Training, "training", true); err != nil {
		return err
	}
	p.out.Format, p.out.Bytes = p.rec.Training.Format, p.rec.Training.Bytes
	if r.Validation != nil {
		p.rec.Validation = new(Source)
		*p.rec.Validation, err = p.q.copyInput(ctx, p.rec, validationFile, *r.Validation, "validation", true)
	}
	return err
}

// look reads the copies, and computes what follows from them.
func (p *previewing) look(ctx context.Context, validation bool) error {
	p.ends = time.Now().Add(previewTime)
	train, err := p.read(ctx, trainingFile, "training", p.rec.Training.Format)
	if err != nil {
		return err
	}
	var held []encodedLine
	c := &p.rec.Config
	switch {
	case validation:
		held, err = p.read(ctx, validationFile, "validation", p.rec.Validation.Format)
	case c.ValidationSplit > 0:
		train, held, err = holdBack(train, c)
	}
	if err := p.fault(err); err != nil {
		return err
	}
	trainList, heldList := p.w.examplesOf(train), p.w.examplesOf(held)
	p.out.Data = p.w.count(train, trainList, heldList)
	if len(trainList) == 0 {
		if len(p.out.Faults) == 0 {
			p.out.Faults = append(p.out.Faults, asDatasetError(allDropped("training", len(train), p.w.enc, c)))
		}
		return nil
	}
	return p.plan(p.w.set.part(trainList), p.w.set.part(heldList))
}

// fault keeps an error about a dataset, and returns any other.
func (p *previewing) fault(err error) error {
	if bad := asDatasetError(err); bad != nil {
		p.out.Faults = append(p.out.Faults, bad)
		return nil
	}
	return err
}

func asDatasetError(err error) *DatasetError {
	var bad *DatasetError
	if errors.As(err, &bad) {
		return bad
	}
	return nil
}

// read reads one dataset: lines that can be learned are tokenized while there is time.
func (p *previewing) read(ctx context.Context, file, which string, format dataset.Format) (list []encodedLine, err error) {
	folder := filepath.Join("tmp", p.rec.ID)
	if err := p.q.convert(ctx, folder, file, which, format); err != nil {
		return nil, p.fault(err)
	}
	f, err := os.Open(p.q.disk.path(folder, file))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	within, cancel := context.WithDeadline(ctx, p.ends)
	defer cancel()
	training := which == "training"
	err = dataset.Read(f, p.q.reading(&p.rec.Config, which), func(line int, c dataset.Conversation) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if training {
			p.out.Lines++
			p.countForm(c.Keys)
		}
		if within.Err() != nil {
			return dataset.CheckRoles(p.q.o.Template, &c)
		}
		examples, err := p.w.enc.Encode(within, c)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return nil
		}
		if err != nil {
			return err
		}
		list = append(list, encodedLine{int32(line), int32(len(p.w.set.lengths)), int32(len(examples)), false})
		for i := range examples {
			p.w.set.add(0, examples[i].Length(), dataset.Labelled(examples[i:i+1]))
		}
		if training {
			p.out.Encoded++
			p.show(line, examples)
		}
		return nil
	})
	return list, p.fault(err)
}

// countForm counts a line by its keys.
func (p *previewing) countForm(keys []string) {
	i := slices.IndexFunc(p.out.Forms, func(f LineForm) bool { return slices.Equal(f.Keys, keys) })
	if i < 0 {
		if len(p.out.Forms) == previewForms {
			return
		}
		i = len(p.out.Forms)
		p.out.Forms = append(p.out.Forms, LineForm{Keys: keys})
	}
	p.out.Forms[i].Lines++
	for ; i > 0 && p.out.Forms[i].Lines > p.out.Forms[i-1].Lines; i-- {
		p.out.Forms[i], p.out.Forms[i-1] = p.out.Forms[i-1], p.out.Forms[i]
	}
}

// show keeps the sequences of a line's examples, of the first lines.
func (p *previewing) show(line int, examples []dataset.Example) {
	for i := range examples {
		if p.out.shownLines(line) > previewExamples || len(p.out.Shown) >= 2*previewExamples {
			return
		}
		x := &examples[i]
		first := "example"
		switch {
		case p.w.set.kind == dataset.PromptOnly:
			first = "prompt"
		case p.w.set.kind == dataset.Preference:
			first = "chosen"
		case p.w.set.kind == dataset.UnpairedPreference && x.Desirable:
			first = "desirable"
		case p.w.set.kind == dataset.UnpairedPreference:
			first = "undesirable"
		}
		p.addShown(line, first, &x.Sequence)
		if len(x.Rejected.Tokens) > 0 {
			p.addShown(line, "rejected", &x.Rejected)
		}
	}
}

// shownLines is how many lines are shown when this one is.
func (p *Preview) shownLines(line int) int {
	n, last := 1, line
	for _, s := range slices.Backward(p.Shown) {
		if s.Line != last {
			n, last = n+1, s.Line
		}
	}
	return n
}

func (p *previewing) addShown(line int, part string, s *dataset.Sequence) {
	one := dataset.Example{Sequence: *s}
	out := ShownSequence{Line: line, Part: part, Tokens: len(s.Tokens), Learned: dataset.Labelled([]dataset.Example{one})}
	if n := len(s.Tokens); n > 0 && s.Labels[n-1] >= 0 {
		out.Tokens++ // the last label is no input
	}
	out.Runs, out.Whole = s.Runs(p.q.o.Model, previewText)
	p.out.Shown = append(p.out.Shown, out)
}

// plan computes the steps, the memory and the time of a run on these examples.
func (p *previewing) plan(train, eval exampleSet) error {
	c := &p.rec.Config
	tokens := int64(0)
	for _, n := range train.lengths {
		tokens += int64(n)
	}
	if left := p.out.Lines - p.out.Encoded; left > 0 { // the others are taken to be like those that were tokenized
		whole := len(train.lengths) * p.out.Lines / max(p.out.Encoded, 1)
		tokens = tokens * int64(p.out.Lines) / int64(max(p.out.Encoded, 1))
		for measured := len(train.lengths); len(train.lengths) < whole; {
			train.lengths = append(train.lengths, train.lengths[len(train.lengths)%measured])
		}
	}
	r := &run{q: p.q, job: p.rec.Job, set: &examples{train: train, eval: eval}}
	if err := r.planSteps(); err != nil {
		return err
	}
	p.out.Steps, p.out.StepsPerEpoch = r.order.Steps(), r.order.StepsPerEpoch()
	p.out.Tokens = int64(float64(tokens) * r.order.Epoch(p.out.Steps))
	if err := p.estimate(r.most, len(train.lengths)+len(eval.lengths)); err != nil {
		return err
	}
	if c.Method != Reinforcement { // which trains on answers that are not there yet
		p.out.Speed = p.q.measuredSpeed(c.Method)
	}
	return nil
}

// estimate asks what a Trainer would take.
func (p *previewing) estimate(most, examples int) error {
	if p.q.o.Estimate == nil {
		return nil
	}
	spec, err := p.q.spec(&p.rec.Config, most, examples)
	if err != nil {
		return err
	}
	m, err := p.q.o.Estimate(spec)
	out := &p.out.Memory
	out.Limit = p.q.o.Memory
	if errors.Is(err, runtime.ErrTrain) {
		out.Refused = strings.TrimPrefix(err.Error(), runtime.ErrTrain.Error()+": ")
		return nil
	}
	if err != nil {
		return err
	}
	out.Bytes, out.Minimum, out.Kept = m.Bytes+spec.Reserved, m.Minimum+spec.Reserved, m.Kept
	return nil
}

// measuredSpeed returns the speed of the newest job of a method on this base that has trained, nil where there is none.
func (q *Queue) measuredSpeed(method string) *Speed {
	q.mu.RLock()
	defer q.mu.RUnlock()
	var newest *job
	for _, j := range q.jobs {
		p := &j.Progress
		if j.Base == q.o.Model.Facts().Fingerprint && j.Config.Method == method && p.Tokens > 0 && p.Seconds > 0 && (newest == nil || j.Serial > newest.Serial) {
			newest = j
		}
	}
	if newest == nil {
		return nil
	}
	return &Speed{TokensPerSecond: float64(newest.Progress.Tokens) / newest.Progress.Seconds, Job: newest.ID, Name: newest.Name}
}
