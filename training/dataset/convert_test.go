package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	pq "github.com/parquet-go/parquet-go"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// convert writes data as JSON Lines.
func convert(t testing.TB, data string, o ConvertOptions) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o.Which = "training"
	var out bytes.Buffer
	err = Convert(context.Background(), f, o, &out)
	return out.String(), err
}

func TestFormatOf(t *testing.T) {
	for _, tc := range []struct {
		name, head string
		want       Format
	}{
		{"a.jsonl", `{"a"`, JSON}, {"a.json", "[", JSON}, {"", "", JSON}, {"a.CSV", "a,b", CSV}, {"a.tsv", "a\tb", TSV}, {"a.b.txt", "Once", Text},
		{"book.md", "# One", Text}, {"a.parquet", "PAR1", Parquet}, {"a", "PAR1\x15", Parquet}, {"a.csv", "PAR1\x15", Parquet},
		{"a.parquet", `{"a": `, JSON}, {"a.csv", "\x1f\x8b\x08", JSON}, {"a.txt", "version https://git-lfs.github.com/spec/v1\noid sha256:0", JSON},
	} {
		if got := FormatOf(tc.name, []byte(tc.head)); got != tc.want {
			t.Errorf("%q, %q: %q, want %q", tc.name, tc.head, got, tc.want)
		}
	}
	for head, name := range map[string]string{"\x1f\x8b\x08\x00": "compressed with gzip", "PK\x03\x04": "a ZIP archive", "ARROW1\x00\x00": "an Arrow file"} {
		_, err := read(head + strings.Repeat("x", 100))
		wantError(t, err, ErrInvalid, "the training data is "+name+": JSON Lines")
	}
}

func TestCSV(t *testing.T) {
	const head = "prompt,completion\n"
	for _, tc := range []struct {
		name, data string
		format     Format
		kind       Kind
		want       string
	}{
		{"quotes and line breaks", head + "a,\"b, \"\"c\"\"\nd\"\n\ne,f\n", CSV, Supervised, "user a, assistant* b, \"c\"\nd | user e, assistant* f"},
		{"a byte order mark and CRLF", "\xef\xbb\xbfprompt,completion\r\na,b\r\n", CSV, Supervised, "user a, assistant* b"},
		{"semicolons", "prompt;completion\na;b,c\n", CSV, Supervised, "user a, assistant* b,c"},
		{"tabs", "prompt\tcompletion\na\tb,c\n", TSV, Supervised, "user a, assistant* b,c"},
		{"empty cells", "instruction,input,output,system\na,,c,\n", CSV, Supervised, "user a, assistant* c"},
		{"messages as JSON", "messages,tools\n\"[{\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"q\"\"}, {\"\"role\"\": \"\"assistant\"\", \"\"content\"\": \"\"a\"\"}]\",\n", CSV, Supervised, "user q, assistant* a"},
		{"JSON that is no messages", head + "\"[1, 2]\",\"{\"\"a\"\": 1}\"\n", CSV, Supervised, `user [1, 2], assistant* {"a": 1}`},
		{"weights", "prompt,completion,weight\na,b,0\nc,d,\n", CSV, Supervised, "user a, assistant* b skipped | user c, assistant* d"},
		{"pairs", "prompt,chosen,rejected\nq,a,b\n", CSV, Preference, "user q, assistant* a / user q, assistant* b"},
		{"labels", "prompt,completion,label\nq,a,True\nq,b,0\n", CSV, UnpairedPreference, "user q, assistant* a true | user q, assistant* b false"},
		{"a column without a name", ",prompt,completion\n0,a,b\n", CSV, Supervised, "user a, assistant* b"},
	} {
		lines, err := convert(t, tc.data, ConvertOptions{Format: tc.format})
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		got, err := readKind(lines, tc.kind)
		if joined := strings.Join(got, " | "); err != nil || joined != tc.want {
			t.Errorf("%s: error %v\ngot  %q\nwant %q", tc.name, err, joined, tc.want)
		}
	}
	// A fault has the number of the line in the file.
	lines, err := convert(t, "prompt,completion,image\n\"a\n\nb\",c,\n\nd,e,cat.png\n", ConvertOptions{Format: CSV})
	if err != nil {
		t.Fatal(err)
	}
	_, err = read(lines)
	wantError(t, err, ErrInvalid, "line 6 has image: only text can be learned")
}

func TestBadCSV(t *testing.T) {
	const head = "prompt,completion\n"
	for data, want := range map[string]string{
		head + "a,b,c\nd,e\nf\n":                 "has 2 bad lines: line 2 has 3 cells, and the first line names 2 columns (2 lines have a fault of this kind: 2, 4)",
		head + "a,b\"c\n":                        `line 2 is not CSV: bare "`,
		head + "a,\xff\n":                        "line 2 is not UTF-8",
		"a,b,a\n1,2,3\n":                         `has two columns named "a"`,
		strings.Repeat("a,", 1100) + "\n":        "has 1101 columns: at most 1024 are read",
		"\xff\xfea\x00,\x00":                     "is UTF-16",
		head + "\"" + strings.Repeat("x", 1<<20): "a row is longer than 65536 bytes, or a quotation mark is not closed",
	} {
		_, err := convert(t, data, ConvertOptions{Format: CSV, Limits: Limits{LineBytes: 64 << 10}})
		wantError(t, err, ErrInvalid, want)
	}
	_, err := convert(t, head+strings.Repeat("a,b\n", 1000), ConvertOptions{Format: CSV, Bytes: 1000})
	wantError(t, err, ErrInvalid, "has more than 1000 bytes as JSON Lines")
}

// TestPlainText learns all of a text, piece by piece, and its end once.
func TestPlainText(t *testing.T) {
	var b strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&b, "Line %d of a long text, with äöü and 日本語.\n", i)
		if i%7 == 0 {
			b.WriteString("\n")
		}
	}
	for name, data := range map[string]string{
		"a long text": b.String(), "a short one": "\xef\xbb\xbfOnce.", "without breaks": strings.Repeat("日本語", 50_000), "blank at the end": "a" + strings.Repeat("\n", 100_000),
	} {
		lines, err := convert(t, data, ConvertOptions{Format: Text})
		if err != nil {
			t.Fatal(err)
		}
		e := newTestEncoder(t, func(o *EncoderOptions) { o.MaxLength = 100 })
		var all []runtime.Token
		ends := 0
		err = Read(strings.NewReader(lines), ReadOptions{Which: "training"}, func(_ int, c Conversation) error {
			list, err := e.Encode(context.Background(), c)
			if len(list) > 0 {
				all = append(all, list[0].Tokens[0]) // the only one that no label has
			}
			for _, x := range list {
				if len(x.Tokens) > 100 || Labelled([]Example{x}) != len(x.Tokens) {
					t.Errorf("%s: an example of %d tokens, %d of them learned", name, len(x.Tokens), Labelled([]Example{x}))
				}
				all = append(all, x.Labels...)
			}
			if !c.Continues {
				ends++
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for _, token := range all {
			text.Write(e.model.Piece(token, false))
		}
		want := strings.TrimPrefix(data, "\xef\xbb\xbf")
		if got := text.String(); strings.TrimSpace(got) != strings.TrimSpace(want) || e.Truncated+e.Dropped != 0 || name != "blank at the end" && ends != 1 {
			t.Errorf("%s: %d bytes learned of %d, %d ends, %d dropped", name, len(got), len(want), ends, e.Dropped)
		}
	}
	for data, want := range map[string]string{"a\xffb": "is not UTF-8", "\xff\xfea\x00": "is UTF-16"} {
		_, err := convert(t, data, ConvertOptions{Format: Text})
		wantError(t, err, ErrInvalid, want)
	}
	lines, err := convert(t, "Once.", ConvertOptions{Format: Text})
	if err == nil {
		_, err = readKind(lines, Preference)
	}
	wantError(t, err, ErrInvalid, "a pair of answers is expected")
}

func TestParquet(t *testing.T) {
	type message struct {
		Role    string `parquet:"role"`
		Content string `parquet:"content"`
	}
	type row struct {
		Messages []message `parquet:"messages,list"`
		Tools    *string   `parquet:"tools,optional"`
		Weight   *float64  `parquet:"weight,optional"`
	}
	tools, zero := `[{"x": 1}]`, 0.0
	var b bytes.Buffer
	err := pq.Write(&b, []row{
		{Messages: []message{{"user", "q"}, {"assistant", "a"}}, Tools: &tools},
		{Messages: []message{{"user", "q"}, {"assistant", "a"}}, Weight: &zero},
	})
	if err != nil {
		t.Fatal(err)
	}
	lines, err := convert(t, b.String(), ConvertOptions{Format: Parquet})
	if err != nil {
		t.Fatal(err)
	}
	got, err := readKind(lines, Supervised)
	if want := `user q, assistant* a, tools [{"x": 1}] | user q, assistant* a skipped`; err != nil || strings.Join(got, " | ") != want {
		t.Errorf("error %v\ngot  %q\nwant %q", err, got, want)
	}
	_, err = convert(t, b.String()[:len(b.String())-20]+"PAR1", ConvertOptions{Format: Parquet})
	wantError(t, err, ErrInvalid, "the training data cannot be read")
	_, err = convert(t, b.String(), ConvertOptions{Format: Parquet, Limits: Limits{Lines: 1}})
	wantError(t, err, ErrInvalid, "the training data has 2 rows: at most 1 are read")
}

// FuzzReaders wants every file to be read or refused, as any kind.
func FuzzReaders(f *testing.F) {
	f.Add("prompt,chosen,rejected\nq,a,b\n", 0)
	f.Add("messages\n\"[{\"\"role\"\": \"\"user\"\"}]\"\n", 0)
	f.Add("Once upon a time.\n\nThe end.", 2)
	f.Add(`{"prompt": "q", "chosen": [{"role": "assistant", "content": "a"}], "rejected": "b"}`, 3)
	f.Add(`{"input": {"messages": [{"role": "user", "content": "q"}]}, "preferred_output": [{"role": "assistant", "content": "a"}], "non_preferred_output": []}`, 3)
	f.Add(`{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "rejected_response": "b", "label": true}`, 3)
	f.Fuzz(func(t *testing.T, data string, format int) {
		lines := data
		if format %= 4; format >= 0 && format < 3 {
			var err error
			lines, err = convert(t, data, ConvertOptions{Format: []Format{CSV, TSV, Text}[format], Limits: Limits{LineBytes: 1 << 16}})
			if bad := new(Error); err != nil && !errors.As(err, &bad) {
				t.Fatalf("error %v", err)
			}
		}
		for kind := Supervised; kind <= PromptOnly; kind++ {
			e := newTestEncoder(t, func(o *EncoderOptions) { o.Kind, o.MaxLength = kind, 64 })
			err := Read(strings.NewReader(lines), ReadOptions{Which: "training", Kind: kind}, func(_ int, c Conversation) error {
				if (kind == Preference) != (c.Rejected != nil) && kind != UnpairedPreference {
					t.Fatalf("%v: a rejected answer is %v", kind, c.Rejected)
				}
				list, err := e.Encode(context.Background(), c)
				for i := range list {
					checkExample(t, kind, &list[i])
				}
				return err
			})
			if bad := new(Error); err != nil && !errors.As(err, &bad) {
				t.Fatalf("%v: error %v", kind, err)
			}
		}
	})
}

// checkExample holds an example to what its kind says.
func checkExample(t *testing.T, kind Kind, x *Example) {
	t.Helper()
	for _, s := range x.sequences() {
		if len(s.Tokens) == 0 || len(s.Tokens) > 64 || len(s.Labels) != len(s.Tokens) {
			t.Fatalf("%v: %d tokens and %d labels", kind, len(s.Tokens), len(s.Labels))
		}
		if kind != Supervised && kind != PromptOnly && s.Labels[len(s.Labels)-1] == unlabelled {
			t.Fatalf("%v: the last label is none", kind)
		}
	}
	if (kind == Preference) != (len(x.Rejected.Tokens) > 0) || (kind == PromptOnly) != (x.Line != nil) || x.Prompt > len(x.Tokens) {
		t.Fatalf("%v: %+v", kind, x)
	}
}
