package training

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/lorikeet-ai/lorikeet/training/dataset"
)

// TestOtherFormats trains on tables and texts, which are kept as JSON Lines, whenever they are looked at.
func TestOtherFormats(t *testing.T) {
	var table bytes.Buffer
	type row struct {
		Prompt     string `parquet:"prompt"`
		Completion string `parquet:"completion"`
	}
	if err := parquet.Write(&table, []row{{"q", "a"}, {"r", "b"}}); err != nil {
		t.Fatal(err)
	}
	h := openFixture(t, t.TempDir(), nil)
	for _, later := range []bool{false, true} {
		for _, tc := range []struct {
			name, data string
			format     dataset.Format
			examples   int
		}{
			{"rows.parquet", table.String(), dataset.Parquet, 2},
			{"rows.csv", "prompt,completion\nq,a\nr,b\ns,c\n", dataset.CSV, 3},
			{"a book.txt", strings.Repeat("Once upon a time. ", 20), dataset.Text, 4}, // 361 tokens, 360 of them learned
			{"rows.jsonl", conversations(5), dataset.JSON, 5},
		} {
			c := smallConfig()
			c.MaxLength = 100
			validation := Input{Body: strings.NewReader(tc.data), Name: tc.name}
			j, err := h.Create(context.Background(), CreateRequest{
				Name: "bird", Config: c, Training: Input{Body: strings.NewReader(tc.data), Name: tc.name}, Validation: &validation, ValidateLater: later,
			})
			if err != nil {
				t.Fatalf("%s, later %v: %v", tc.name, later, err)
			}
			j, _ = h.wait(j.ID)
			if j.Status != Succeeded || j.Training.Format != tc.format || j.Data.Examples != tc.examples || j.Data.Validation != tc.examples {
				t.Errorf("%s, later %v: ended: %s", tc.name, later, asJSON(t, j))
			}
			left, _ := filepath.Glob(filepath.Join(h.dir, "training", "jobs", j.ID, "*.raw"))
			if _, err := os.Stat(filepath.Join(h.dir, "training", "jobs", j.ID, trainingFile)); err != nil || len(left) > 0 {
				t.Errorf("%s, later %v: left are %v, error %v", tc.name, later, left, err)
			}
		}
	}
}

// TestBadTables names the line at fault, at once or when the job's files are looked at.
func TestBadTables(t *testing.T) {
	h := openFixture(t, t.TempDir(), func(o *Options) { o.MaxDataset = 2000 })
	for name, tc := range map[string]struct{ data, want string }{
		"a.csv":     {"prompt,completion\nq,a\nr\n", "the training data has 1 bad line: line 3 has 1 cells"},
		"b.csv":     {"question,answer\nq,a\nr,b\n", "line 2 has the keys answer, question"},
		"c.parquet": {"PAR1 and no more", "the training data cannot be read"},
		"d.parquet": {"x", "line 1 is not JSON"},
		"e.txt":     {"a\xff", "the training data is not UTF-8"},
		"f.tsv":     {strings.Repeat("p\tc\n", 100), "has the keys"},
	} {
		r := CreateRequest{Name: "bird", Config: smallConfig(), Training: Input{Body: strings.NewReader(tc.data), Name: name}}
		_, err := h.Create(context.Background(), r)
		wantError(t, err, ErrDataset, tc.want)
		r.Training.Body, r.ValidateLater = strings.NewReader(tc.data), true
		j, err := h.Create(context.Background(), r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if j, _ = h.wait(j.ID); j.Status != Failed || j.Error.Code != CodeDataset || !strings.Contains(j.Error.Message, tc.want) {
			t.Errorf("%s: ended: %s", name, asJSON(t, j))
		}
	}
}

// TestConversionEndsAfterACrash has a job whose dataset was being written as JSON Lines when the server ended: it is written anew.
func TestConversionEndsAfterACrash(t *testing.T) {
	dir := t.TempDir()
	h := openFixture(t, dir, nil)
	job := filepath.Join("jobs", "x")
	if err := h.disk.mkdir(h.disk.path(job)); err != nil {
		t.Fatal(err)
	}
	raw := h.disk.path(job, rawFile(trainingFile))
	for i, before := range []string{"", "an older one"} {
		data := fmt.Sprintf("prompt,completion\nq,%d\n", i)
		if err := os.WriteFile(raw, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(h.disk.path(job, trainingFile), []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time there is nothing to do
			if err := h.convert(context.Background(), job, trainingFile, "training", dataset.CSV); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(h.disk.path(job, trainingFile))
		if want := fmt.Sprintf("\n{\"prompt\":\"q\",\"completion\":\"%d\"}", i); err != nil || string(got) != want {
			t.Errorf("%q, error %v", got, err)
		}
	}
}
