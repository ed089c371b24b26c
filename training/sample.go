package training

import (
	"errors"
	"io/fs"
	"os"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// maxSamples is how many answers a report compares.
const maxSamples = 3

// Sample is a question of the dataset and what there is of answers to it.
type Sample struct {
	Messages  []SampleMessage `json:"messages"`
	Reference string          `json:"reference"`         // the dataset's
	Base      *string         `json:"base,omitempty"`    // nil: not asked
	Adapter   *string         `json:"adapter,omitempty"` // nil: not asked
}

// SampleMessage is a turn of the question.
type SampleMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// canAsk reports whether the conversation ends with an answer to a plain question.
func (c *conversation) canAsk() bool {
	n := len(c.turns)
	if n < 2 || c.tools != nil || c.kwargs != nil || c.turns[n-1].message.Role != assistant {
		return false
	}
	for _, t := range c.turns {
		if t.message.Extra != nil {
			return false
		}
	}
	return true
}

// sample is the question and its answer.
func (c *conversation) sample() Sample {
	var s Sample
	for _, t := range c.turns[:len(c.turns)-1] {
		s.Messages = append(s.Messages, SampleMessage{t.message.Role, t.message.Content})
	}
	s.Reference = c.turns[len(c.turns)-1].message.Content
	return s
}

// writeSamples keeps a few of the lines of a dataset, evenly spread, for the report.
func (q *Queue) writeSamples(job *Job, file string, list []encoded) error {
	var fit []int
	for _, e := range list {
		if e.sample {
			fit = append(fit, e.line)
		}
	}
	wanted := make(map[int]bool)
	for i := range min(maxSamples, len(fit)) {
		wanted[fit[i*len(fit)/min(maxSamples, len(fit))]] = true
	}
	f, err := os.Open(q.disk.path(q.inJob(job.ID, file)))
	if err != nil {
		return err
	}
	defer f.Close()
	samples := []Sample{}
	err = readDataset(f, "training", func(line int, c conversation) error {
		if wanted[line] {
			samples = append(samples, c.sample())
		}
		return nil
	})
	if err != nil {
		return err
	}
	return q.disk.putJSON(q.inJob(job.ID, samplesFile), samples)
}

// readSamples returns the samples of a job, none where it has none yet.
func (q *Queue) readSamples(id string) ([]Sample, error) {
	var list []Sample
	err := q.disk.readJSON(q.inJob(id, samplesFile), &list)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return list, err
}

// conversation is the question as a template renders it.
func (s *Sample) conversation() []runtime.Message {
	list := make([]runtime.Message, len(s.Messages))
	for i, m := range s.Messages {
		list[i] = runtime.Message{Role: m.Role, Content: m.Content}
	}
	return list
}
