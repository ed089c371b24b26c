package training

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// This file makes the result file of a job: a table in CSV with the numbers of its steps and evaluations, as OpenAI's jobs have
// one. It is written when the job publishes a checkpoint and when it ends, and deleted with the job.

const (
	resultPurpose = "fine-tune-results"
	resultName    = "step_metrics.csv"
)

// resultColumns are the first columns of the table, by OpenAI's names. Those of a method's own numbers follow, in the order of
// their names: "reward" of a step, "valid_reward" of an evaluation.
var resultColumns = []string{"step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy"}

// ResultFile returns the id that the result file of the job has in Options.Files, once there is one.
func (j *Job) ResultFile() string { return filePrefix + strings.TrimPrefix(j.ID, jobPrefix) }

// resultRow is a step: what it gave, what an evaluation after it gave, or both.
type resultRow struct {
	step        int
	done, valid *Metrics
}

// resultRows reads the steps from a job's events. Of a step that was done again after the run went back to a checkpoint, the
// second time counts. In a long run a row may stand for the mean of several steps, as the events do.
func resultRows(events []Event) (rows []resultRow) {
	for _, e := range events {
		m := e.Metrics
		if m == nil {
			continue
		}
		first := m.Step // of the rows that this event takes the place of
		if m.EvalLoss != nil {
			first++
		}
		for len(rows) > 0 && rows[len(rows)-1].step >= first {
			rows = rows[:len(rows)-1]
		}
		switch n := len(rows); {
		case m.EvalLoss == nil:
			rows = append(rows, resultRow{step: m.Step, done: m})
		case n > 0 && rows[n-1].step == m.Step:
			rows[n-1].valid = m
		default:
			rows = append(rows, resultRow{step: m.Step, valid: m})
		}
	}
	return rows
}

// resultTable writes rows as CSV. accuracies says whether the job's method has a share of tokens that were the likeliest.
func resultTable(rows []resultRow, accuracies bool) []byte {
	names := map[string]bool{}
	for _, r := range rows {
		for name := range r.measures() {
			names[name] = true
		}
	}
	own := slices.Sorted(maps.Keys(names))
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write(slices.Concat(resultColumns, own)) // a buffer takes everything
	for _, r := range rows {
		line := []string{strconv.Itoa(r.step), "", "", "", ""}
		if r.done != nil {
			line[1] = cell(r.done.Loss)
		}
		if r.valid != nil {
			line[3] = cell(*r.valid.EvalLoss)
		}
		if accuracies && r.done != nil {
			line[2] = cell(r.done.Accuracy)
		}
		if accuracies && r.valid != nil && r.valid.EvalAccuracy != nil {
			line[4] = cell(*r.valid.EvalAccuracy)
		}
		measures := r.measures()
		for _, name := range own {
			x, ok := measures[name]
			line = append(line, map[bool]string{true: cell(x)}[ok])
		}
		_ = w.Write(line)
	}
	w.Flush()
	return b.Bytes()
}

// measures are the method's own numbers of a row, by their columns.
func (r *resultRow) measures() map[string]float64 {
	list := map[string]float64{}
	if r.done != nil {
		maps.Copy(list, r.done.Measures)
	}
	if r.valid != nil {
		for name, x := range r.valid.Measures {
			list["valid_"+name] = x
		}
	}
	return list
}

func cell(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

// writeResults stores the result file of a job that has numbers. What keeps it from being stored is an event of the job, and
// does not end it: the events have the same numbers.
func (q *Queue) writeResults(ctx context.Context, j *job) {
	if q.o.Files == nil {
		return
	}
	events, err := q.readEvents(j.ID)
	rows := resultRows(events)
	if err == nil && len(rows) == 0 {
		return
	}
	if err == nil {
		table := resultTable(rows, j.Config.Method != Reinforcement)
		err = q.o.Files.replace(ctx, j.ResultFile(), table, resultName, j.Owner)
	}
	if err != nil && ctx.Err() == nil {
		q.tell(j, LevelWarn, fmt.Sprintf("The result file could not be written: %v", err))
	}
}

// deleteResults deletes the result file of a job, where there is one.
func (q *Queue) deleteResults(j *job) error {
	if q.o.Files == nil {
		return nil
	}
	if err := q.o.Files.Delete(j.ResultFile()); err != nil && !errors.Is(err, ErrFile) {
		return fmt.Errorf("its result file: %w", err)
	}
	return nil
}

// replace stores a file of results, in the place of the one with that id where there is one. Who reads the old
// one goes on reading it. The error wraps ErrClosed or disk.ErrNoSpace, or is ctx's.
func (f *Files) replace(ctx context.Context, id string, content []byte, name, owner string) error {
	replaced, err := f.rewrite(id, content)
	if replaced || err != nil {
		return err
	}
	return f.PutAs(ctx, id, bytes.NewReader(content), name, resultPurpose, owner, 0)
}

// rewrite changes the content of a file, and reports false where there is no file of that id. A kill may come between the
// content and what is noted of its size, which recover therefore looks at.
func (f *Files) rewrite(id string, content []byte) (replaced bool, err error) {
	f.commit.Lock()
	defer f.commit.Unlock()
	f.mu.RLock()
	file, found := f.files[id]
	closed := f.closed
	f.mu.RUnlock()
	if closed {
		return false, ErrClosed
	}
	if !found {
		return false, nil
	}
	err = f.disk.put(filepath.Join("files", id, contentFile), func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
	if failed := f.measure(&file); failed != nil { // after an error the new content may be in its place
		return false, errors.Join(err, failed)
	}
	f.mu.Lock()
	f.files[id] = file
	f.mu.Unlock()
	if err != nil {
		return false, err
	}
	return true, f.disk.putJSON(filepath.Join("files", id, aboutFile), file)
}

// measure notes the size of a result file, which may have been rewritten without it.
func (f *Files) measure(file *File) error {
	if file.Purpose != resultPurpose {
		return nil
	}
	info, err := os.Stat(f.disk.path("files", file.ID, contentFile))
	if err == nil {
		file.Bytes = info.Size()
	}
	return err
}
