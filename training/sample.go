package training

import (
	"errors"
	"io/fs"
	"os"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/training/dataset"
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
func canAsk(c *dataset.Conversation) bool {
	_, _, ok := c.Question()
	return ok
}

// sampleOf is the conversation's question and its answer.
func sampleOf(c *dataset.Conversation) Sample {
	var s Sample
	messages, answer, _ := c.Question()
	for _, m := range messages {
		s.Messages = append(s.Messages, SampleMessage{m.Role, m.Content})
	}
	s.Reference = answer
	return s
}

// writeSamples keeps a few of the lines of a dataset, evenly spread, for the report.
func (q *Queue) writeSamples(job *Job, file string, list []encodedLine) error {
	var fit []int32
	for _, e := range list {
		if e.sample {
			fit = append(fit, e.line)
		}
	}
	wanted := make(map[int32]bool)
	for i := range min(maxSamples, len(fit)) {
		wanted[fit[i*len(fit)/min(maxSamples, len(fit))]] = true
	}
	f, err := os.Open(q.disk.path(q.inJob(job.ID, file)))
	if err != nil {
		return err
	}
	defer f.Close()
	samples := []Sample{}
	err = dataset.Read(f, q.reading(&job.Config, "training"), func(line int, c dataset.Conversation) error {
		if wanted[int32(line)] {
			samples = append(samples, sampleOf(&c))
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
