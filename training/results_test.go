package training

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// withFiles gives a fixture's Queue the files in dir, which are closed after it.
func withFiles(t *testing.T, dir string, files **Files) func(*Options) {
	return func(o *Options) {
		var err error
		if *files, err = OpenFiles(FilesOptions{Dir: filepath.Join(dir, "files")}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*files).Close() })
		o.Files = *files
	}
}

// table reads a result file: its columns, and its lines by these.
func table(t *testing.T, f *Files, j Job) (columns []string, lines []map[string]string) {
	t.Helper()
	all, err := csv.NewReader(strings.NewReader(content(t, f, j.ResultFile()))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, cells := range all[1:] {
		line := map[string]string{}
		for i, name := range all[0] {
			line[name] = cells[i]
		}
		lines = append(lines, line)
	}
	return all[0], lines
}

// The table has the numbers of the events, by step; it is deleted with the job.
func TestResultFile(t *testing.T) {
	dir := t.TempDir()
	var files *Files
	h := openFixture(t, dir, withFiles(t, dir, &files))
	c := smallConfig()
	c.ValidationSplit, c.EvalStrategy = 0.2, EveryEpoch
	j, events := h.wait(h.create("bird", c).ID)
	columns, lines := table(t, files, j)
	if !slices.Equal(columns, resultColumns) || len(lines) != j.Progress.Steps+1 {
		t.Fatalf("%d lines with the columns %q after %d steps", len(lines), columns, j.Progress.Steps)
	}
	for i, line := range lines {
		if line["step"] != strconv.Itoa(i) || (line["train_loss"] == "") != (i == 0) || (line["train_accuracy"] == "") != (i == 0) {
			t.Errorf("line %d is %v", i, line)
		}
	}
	evaluations := 0
	for _, e := range events {
		m := e.Metrics
		if m == nil {
			continue
		}
		column, want := "train_loss", m.Loss
		if m.EvalLoss != nil {
			column, want = "valid_loss", *m.EvalLoss
			evaluations++
		}
		if got := lines[m.Step][column]; got != cell(want) {
			t.Errorf("step %d has the %s %s, and its event %v", m.Step, column, got, want)
		}
	}
	if evaluations < 3 {
		t.Errorf("there were %d evaluations", evaluations)
	}
	f, err := files.Get(j.ResultFile())
	if err != nil || f.Purpose != "fine-tune-results" || f.Name != "step_metrics.csv" || f.Bytes != int64(len(content(t, files, f.ID))) {
		t.Errorf("the file is %+v, %v", f, err)
	}
	if err := h.Delete(j.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := files.Get(j.ResultFile()); !errors.Is(err, ErrFile) {
		t.Errorf("the file is there after its job: %v", err)
	}
}

// Of a run that was stopped and went on, the table is that of a run that nothing stopped.
func TestResultFileOfARunThatGoesOn(t *testing.T) {
	tables := map[bool]string{}
	for _, stopped := range []bool{false, true} {
		dir := t.TempDir()
		var files *Files
		open := withFiles(t, dir, &files)
		h := openFixture(t, dir, open)
		c := smallConfig()
		c.ValidationSplit, c.Epochs = 0.2, 20
		j := h.create("bird", c)
		if stopped {
			h.waitFor(j.ID, "Checkpoint: bird@step-8")
			h.close()
			if err := files.Close(); err != nil {
				t.Fatal(err)
			}
			h = openFixture(t, dir, open)
			if f, err := files.Get(j.ResultFile()); err != nil || f.Bytes == 0 {
				t.Errorf("after a checkpoint the file is %+v, %v", f, err)
			}
		}
		j, _ = h.wait(j.ID)
		if j.Status != Succeeded {
			t.Fatalf("ended: %s", asJSON(t, j))
		}
		tables[stopped] = content(t, files, j.ResultFile())
	}
	if tables[true] != tables[false] {
		t.Errorf("the table is\n%s\nwithout a stop\n%s", tables[true], tables[false])
	}
}

// A job that is cancelled has the numbers up to there, and one without numbers has no file.
func TestResultFileOfAJobThatIsCancelled(t *testing.T) {
	dir := t.TempDir()
	var files *Files
	h := openFixture(t, dir, withFiles(t, dir, &files))
	c := smallConfig()
	c.Epochs = 5000
	j, waiting := h.create("bird", c), h.create("second", c)
	h.waitFor(j.ID, "Checkpoint: bird@step-4")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, id := range []string{waiting.ID, j.ID} {
		if _, err := h.Cancel(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	if _, lines := table(t, files, j); len(lines) < 4 || lines[3]["step"] != "4" {
		t.Errorf("the table has %v", lines)
	}
	if _, err := files.Get(waiting.ResultFile()); !errors.Is(err, ErrFile) {
		t.Errorf("a job that never ran has a file: %v", err)
	}
}

// What cannot be written is told, and the job succeeds.
func TestResultFileThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	var files *Files
	h := openFixture(t, dir, withFiles(t, dir, &files))
	files.disk.at = func(op string) error { return fmt.Errorf("no %s today", op) }
	j, events := h.wait(h.create("bird", smallConfig()).ID)
	if j.Status != Succeeded || !strings.Contains(asJSON(t, events), "The result file could not be written: no mkdir") {
		t.Errorf("ended %s: %s", j.Status, asJSON(t, events))
	}
}

// The method's own numbers have columns of their own; reinforcement has no accuracies of tokens.
func TestResultFileOfRewards(t *testing.T) {
	dir := t.TempDir()
	var files *Files
	h := openReinforced(t, dir, func(o *Options, _ *policy) { withFiles(t, dir, &files)(o) })
	c := reinforceConfig()
	c.MaxSteps, c.EvalStrategy, c.EvalSteps = 4, EverySteps, 2
	j, _ := h.wait(h.start("yes", c).ID)
	columns, lines := table(t, files, j)
	for _, name := range []string{"reward", "reward_std", "kl", "completions/mean_length", "valid_reward"} {
		if !slices.Contains(columns, name) {
			t.Errorf("there is no column %s in %q", name, columns)
		}
	}
	if len(lines) != 5 || lines[2]["reward"] == "" || lines[2]["valid_reward"] == "" || lines[1]["valid_reward"] != "" || lines[1]["train_accuracy"] != "" {
		t.Errorf("the table has %v", lines)
	}
}

func TestResultRows(t *testing.T) {
	loss := 1.0
	step := func(n int, loss float64) Event { return Event{Metrics: &Metrics{Step: n, Loss: loss}} }
	eval := func(n int) Event { return Event{Metrics: &Metrics{Step: n, EvalLoss: &loss}} }
	var got []string
	for _, r := range resultRows([]Event{{Message: "begin"}, eval(0), step(1, 1), step(2, 2), eval(2), step(3, 3), step(4, 4), eval(4), step(3, 5), eval(3)}) {
		text := strconv.Itoa(r.step)
		if r.done != nil {
			text += fmt.Sprint(" loss ", r.done.Loss)
		}
		if r.valid != nil {
			text += " evaluated"
		}
		got = append(got, text)
	}
	if want := "0 evaluated, 1 loss 1, 2 loss 2 evaluated, 3 loss 5 evaluated"; strings.Join(got, ", ") != want {
		t.Errorf("the rows are %q, want %q", got, want)
	}
}

// A file that is replaced while it is read is read to its old end; a kill between its content and its size does no harm.
func TestReplacedFiles(t *testing.T) {
	dir := t.TempDir()
	f := openFiles(t, dir, func(o *FilesOptions) { o.MaxTotal = 20 })
	id := f.NewFileID()
	for _, text := range []string{"short", "a longer one"} {
		if err := f.replace(t.Context(), id, []byte(text), "n.csv", ""); err != nil {
			t.Fatal(err)
		}
	}
	open, about, err := f.Open(id)
	if err != nil || about.Bytes != 12 {
		t.Fatalf("%+v, %v", about, err)
	}
	defer open.Close()
	if err := f.Room(9); !errors.Is(err, ErrFilesFull) {
		t.Errorf("the file does not count: %v", err)
	}
	if err := f.replace(t.Context(), id, []byte("3"), "n.csv", ""); err != nil {
		t.Fatal(err)
	}
	old := make([]byte, 20)
	if n, _ := open.Read(old); string(old[:n]) != "a longer one" {
		t.Errorf("read %q", old[:n])
	}
	if err := os.WriteFile(filepath.Join(dir, "files", id, contentFile), []byte("after a kill"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := f.replace(t.Context(), id, nil, "n.csv", ""); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed folder is written: %v", err)
	}
	f = openFiles(t, dir, nil)
	if about, err := f.Get(id); err != nil || about.Bytes != 12 {
		t.Errorf("%+v, %v", about, err)
	}
}

// TestReplacedFilesOnAFailingDisk has each change on the disk fail: the file is the old one or the new one, also for the next process.
func TestReplacedFilesOnAFailingDisk(t *testing.T) {
	const before, after = "the table of the last checkpoint", "the table of this one"
	for n := 1; ; n++ {
		dir := t.TempDir()
		f := openFiles(t, dir, nil)
		id := f.NewFileID()
		if err := f.replace(t.Context(), id, []byte(before), "n.csv", ""); err != nil {
			t.Fatal(err)
		}
		ops := 0
		f.disk.at = func(op string) error {
			if ops++; ops == n {
				return fmt.Errorf("no %s", op)
			}
			return nil
		}
		err := f.replace(t.Context(), id, []byte(after), "n.csv", "")
		for _, again := range []bool{false, true} {
			if again {
				f.Close()
				f = openFiles(t, dir, nil)
			}
			about, failed := f.Get(id)
			text := content(t, f, id)
			if failed != nil || text != after && (err == nil || text != before) || about.Bytes != int64(len(text)) {
				t.Fatalf("change %d (%v): %+v, %v, %q", n, err, about, failed, text)
			}
		}
		if ops < n {
			if n < 5 {
				t.Errorf("there were %d changes", ops)
			}
			return
		}
		if err == nil {
			t.Fatalf("change %d failed, and nobody knows", n)
		}
	}
}
