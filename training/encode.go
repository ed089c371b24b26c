package training

import (
	"bufio"
	"context"
	"math"
	"os"
	"slices"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
	"github.com/lorikeet-ai/lorikeet/training/dataset"
)

// This file turns datasets into examples in a temporary file, so that no more of them is in memory than one line and
// where its examples lie.

// encoding is the datasets of a job while they are encoded.
type encoding struct {
	q    *Queue
	job  *Job
	enc  *dataset.Encoder
	file *os.File // the records of all examples, one after the other
	buf  *bufio.Writer
	size int64
	set  exampleSet // of all examples
	row  []byte     // a record
}

// encodedLine is one line of a dataset.
type encodedLine struct {
	line, first, count int32 // its number; its examples
	sample             bool  // it can be asked as it stands
}

// newEncoding begins to encode. The caller closes it.
func (q *Queue) newEncoding(job *Job) (*encoding, error) {
	name := "encoding-" + job.ID
	if err := q.disk.step("write " + name); err != nil {
		return nil, disk.NoSpace(err)
	}
	f, err := os.OpenFile(q.disk.path("tmp", name), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, disk.NoSpace(err)
	}
	return &encoding{q: q, job: job, enc: q.encoder(&job.Config), file: f, buf: bufio.NewWriterSize(f, 64<<10), set: exampleSet{file: f, kind: job.Config.kind()}}, nil
}

// close removes the file.
func (w *encoding) close() {
	w.file.Close()
	os.Remove(w.file.Name())
}

// flush writes what is still in memory.
func (w *encoding) flush() error { return disk.NoSpace(w.buf.Flush()) }

// lines encodes a dataset.
func (w *encoding) lines(ctx context.Context, file, which string) ([]encodedLine, error) {
	f, err := os.Open(w.q.disk.path(w.q.inJob(w.job.ID, file)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []encodedLine
	err = dataset.Read(f, w.q.reading(&w.job.Config, which), func(line int, c dataset.Conversation) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		x, err := w.enc.Encode(ctx, c)
		if err != nil {
			return err
		}
		list = append(list, encodedLine{int32(line), int32(len(w.set.lengths)), int32(len(x)), canAsk(&c)})
		return w.add(x)
	})
	return list, err
}

// add writes examples.
func (w *encoding) add(list []dataset.Example) error {
	for i := range list {
		w.row = appendExample(w.row[:0], w.set.kind, &list[i])
		w.set.add(w.size, list[i].Length(), dataset.Labelled(list[i:i+1]))
		w.size += int64(len(w.row))
		if _, err := w.buf.Write(w.row); err != nil {
			return disk.NoSpace(err)
		}
	}
	return nil
}

// examplesOf returns the examples of lines.
func (w *encoding) examplesOf(lines []encodedLine) (list []int) {
	for _, l := range lines {
		for i := range l.count {
			list = append(list, int(l.first+i))
		}
	}
	return list
}

// part returns the lengths of the examples in list as a set of their own.
func (s *exampleSet) part(list []int) exampleSet {
	p := exampleSet{file: s.file, kind: s.kind, lengths: make([]int, len(list))}
	for at, i := range list {
		p.lengths[at] = s.lengths[i]
	}
	return p
}

// holdBack takes the share of the lines for validation that the configuration asks for, at least one of each kind.
func holdBack(all []encodedLine, c *Config) (train, held []encodedLine, err error) {
	if len(all) < 2 {
		return nil, nil, &DatasetError{Dataset: "training", Reason: "has a single line: none can be held back for validation_split"}
	}
	n := int(math.Round(c.ValidationSplit * float64(len(all))))
	n = min(max(n, 1), len(all)-1)
	order := dataset.Shuffled(len(all), uint64(c.Seed), dataset.SplitOrder)
	slices.Sort(order[:n])
	slices.Sort(order[n:])
	for _, i := range order[:n] {
		held = append(held, all[i])
	}
	for _, i := range order[n:] {
		train = append(train, all[i])
	}
	return train, held, nil
}

// count describes what the datasets gave.
func (w *encoding) count(lines []encodedLine, train, held []int) Data {
	d := Data{Lines: len(lines), Examples: len(train), Validation: len(held), Truncated: w.enc.Truncated, Dropped: w.enc.Dropped}
	for _, i := range train {
		d.Tokens += int64(w.set.lengths[i])
		d.Longest = max(d.Longest, w.set.lengths[i])
		d.Labelled += int64(w.set.labelled[i])
	}
	return d
}
