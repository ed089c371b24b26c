package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

// read returns the conversations of a dataset, as short text.
func read(data string) ([]string, error) {
	var out []string
	err := Read(strings.NewReader(data), ReadOptions{Which: "training"}, func(line int, c Conversation) error {
		s := fmt.Sprintf("%d:", line)
		if len(c.Turns) == 0 {
			s += fmt.Sprintf(" text %q", c.Text)
		}
		for _, t := range c.Turns {
			s += " " + t.Message.Role
			if t.Learn {
				s += "*"
			}
			s += fmt.Sprintf(" %q", t.Message.Content)
			if len(t.Message.Extra) > 0 {
				s += fmt.Sprintf(" %s", t.Message.Extra)
			}
		}
		if c.Tools != nil {
			s += " tools " + string(c.Tools)
		}
		out = append(out, s)
		return nil
	})
	return out, err
}

func TestFormats(t *testing.T) {
	for _, tc := range []struct{ line, want string }{
		{`{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "id": 7}`, `user "a" assistant* "b"`},
		{`{"messages": [{"role": "developer", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, {"role": "assistant", "content": "c"}]}`, `system "s" user "ab" assistant* "c"`},
		{`{"messages": [{"role": "user", "content": [{"type": "text", "value": "hi"}], "loss_weight": 0.0}, {"role": "assistant", "content": [{"type": "text", "value": "yo"}], "loss_weight": 1.0}]}`, `user "hi" assistant* "yo"`},
		{`{"messages": [{"role": "assistant", "content": "x", "weight": 0}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 1}]}`, `assistant "x" user "a" assistant* "b"`},
		{`{"messages": [{"role": "user", "content": "a", "name": "bob"}, {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f"}, "id": 1}]}], "tools": [{"type": "function"}]}`, `user "a" map[name:"bob"] assistant* "" map[tool_calls:[{"function": {"name": "f"}, "id": 1}]] tools [{"type": "function"}]`},
		{`{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "tools": "[{\"x\": 1}]"}`, `user "a" assistant* "b" tools [{"x": 1}]`},
		{`{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "tools": ""}`, `user "a" assistant* "b"`},
		{`{"prompt": "a", "completion": "b"}`, `user "a" assistant* "b"`},
		{`{"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}], "completion": [{"role": "assistant", "content": "d"}]}`, `user "a" assistant "b" user "c" assistant* "d"`},
		{`{"prompt": [{"role": "user", "content": "a"}], "completion": "b"}`, `user "a" assistant* "b"`},
		{`{"text": "once", "category": "x"}`, `text "once"`},
		{`{"instruction": "a", "input": "b", "output": "c"}`, `user "a\nb" assistant* "c"`},
		{`{"instruction": "", "input": "b", "output": "c"}`, `user "b" assistant* "c"`},
		{`{"instruction": "a", "input": "", "output": "c", "text": "Below is"}`, `user "a" assistant* "c"`},
		{`{"instruction": "a", "output": "c", "system": "s", "history": [["q", "r"]]}`, `system "s" user "q" assistant* "r" user "a" assistant* "c"`},
		{`{"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}, {"from": "observation", "value": "o"}, {"from": "GPT", "value": "c"}]}`, `system "s" user "a" assistant* "b" tool "o" assistant* "c"`},
		{`{"conversations": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "system": "s"}`, `system "s" user "a" assistant* "b"`},
	} {
		got, err := read(tc.line)
		if err != nil || len(got) != 1 || got[0] != "1: "+tc.want {
			t.Errorf("%s\ngot  %q, error %v\nwant %q", tc.line, got, err, tc.want)
		}
	}
}

func TestBadLines(t *testing.T) {
	for line, want := range map[string]string{
		`{"a": 1`:                            "is not JSON: unexpected end",
		`nonsense`:                           "is not JSON",
		`"text"`:                             "is not a JSON object",
		`null`:                               "is not a JSON object",
		"{\"text\": \"\xff\"}":               "is not UTF-8 at byte 11",
		`{"foo": 1, "bar": 2}`:               "has the keys bar, foo: messages, conversations",
		`{"chosen": [], "rejected": []}`:     "is preference data (chosen, rejected)",
		`{"prompt": "a", "chosen": "b"}`:     "is preference data",
		`{"preferred_output": "b"}`:          "is preference data (preferred_output",
		`{"messages": "a"}`:                  "has messages that are not a list",
		`{"messages": []}`:                   "has no messages",
		`{"messages": [1]}`:                  "messages[0] is not an object",
		`{"messages": [{"content": "a"}]}`:   "messages[0] has no role",
		`{"messages": [{"role": "user"}]}`:   "messages[0] has no content",
		`{"messages": [{"role": ["user"]}]}`: "messages[0] has a role that is not a text",
		`{"messages": [{"role": "user", "content": "a"}]}`:                                 "has no message of the assistant",
		`{"messages": [{"role": "user", "content": 3}]}`:                                   "messages[0] has a content that is neither",
		`{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}`:             `content[0] is of type "image_url"`,
		`{"messages": [{"role": "user", "content": [{"type": "text"}]}]}`:                  `content[0] has no text`,
		`{"messages": [{"role": "assistant", "content": "a", "weight": 0.5}]}`:             "has a weight of 0.5: 0 or 1",
		`{"messages": [{"role": "user", "content": "a", "weight": 1}]}`:                    "is the user's: only the assistant's",
		`{"messages": [{"role": "assistant", "content": "a"}], "tools": 3}`:                "has tools that are not a list",
		`{"messages": [{"role": "assistant", "content": "a"}], "chat_template_kwargs": 3}`: "has chat_template_kwargs that are not an object",
		`{"conversations": [{"from": "function_call", "value": "a"}]}`:                     "is a function_call whose value is a text that is not JSON",
		`{"prompt": 1, "completion": "b"}`:                                                 "has a prompt that is not a text",
		`{"prompt": [1], "completion": "b"}`:                                               "prompt[0] is not an object",
		`{"instruction": 1, "output": "b"}`:                                                "has a instruction that is not a text",
		`{"instruction": "a", "input": 2, "output": "b"}`:                                  "has a input",
		`{"instruction": "a", "output": "b", "history": [["a", null]]}`:                    "has a history",
		`{"instruction": "a", "output": "b", "history": [["a"], 3]}`:                       "has a history",
		`{"text": ""}`: "has an empty text",
		`{"text": 5}`:  "has a text that is not a text",
		`{"prompt": "a", "completion": [{"role": "user", "content": "b"}]}`: "has no message of the assistant",
	} {
		_, err := read(conversations(1) + line + "\n" + conversations(1))
		var bad *Error
		if !errors.As(err, &bad) || bad.Count != 1 || bad.Bad[0].Line != 2 {
			t.Errorf("%s: error %v", line, err)
			continue
		}
		if !strings.Contains(bad.Bad[0].Reason, want) {
			t.Errorf("%s: %q does not say %q", line, bad.Bad[0].Reason, want)
		}
	}
}

// TestFormsOfFiles wants the same lines whatever the file looks like around them.
func TestFormsOfFiles(t *testing.T) {
	a, b := `{"text": "a"}`, `{"text": "b"}`
	for name, tc := range map[string]struct {
		data string
		want string
	}{
		"lines":              {a + "\n" + b + "\n", `[1: text "a" 2: text "b"]`},
		"no last line break": {a + "\n" + b, `[1: text "a" 2: text "b"]`},
		"CRLF and empty":     {"\r\n \t\r\n" + a + "\r\n\r\n" + b + "\r\n\n", `[3: text "a" 5: text "b"]`},
		"byte order mark":    {"\xef\xbb\xbf" + a + "\n" + b, `[1: text "a" 2: text "b"]`},
		"array":              {"[" + a + "," + b + "]", `[1: text "a" 2: text "b"]`},
		"pretty array":       {"\xef\xbb\xbf\n [\r\n  {\n    \"text\":\n \"a\"\n  },\n " + b + "\n]\n\n", `[1: text "a" 2: text "b"]`},
		"mixed":              {a + "\n" + `{"prompt": "p", "completion": "c"}`, `[1: text "a" 2: user "p" assistant* "c"]`},
	} {
		got, err := read(tc.data)
		if err != nil || fmt.Sprint(got) != tc.want {
			t.Errorf("%s: got %v, error %v; want %s", name, got, err, tc.want)
		}
	}
}

func TestBadFiles(t *testing.T) {
	ok := `{"text": "a"}`
	for name, tc := range map[string]struct{ data, want string }{
		"empty":            {"", "has no examples: it is empty"},
		"LFS pointer":      {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab\nsize 12345\n", "Git LFS pointer"},
		"blank":            {"\n\n", "has no examples"},
		"empty array":      {"[]", "has no examples"},
		"UTF-16":           {"\xff\xfe{\x00", "is UTF-16"},
		"array cut off":    {"[" + ok + ",", "element 2 is cut off"},
		"array broken":     {"[" + ok + "," + ok + " " + ok + "]", "element 3 is not JSON"},
		"behind the array": {"[" + ok + "] " + ok, "element 2 comes after the end"},
		"bad element":      {"[" + ok + ", 5]", "element 2 is not a JSON object"},
		"long line":        {ok + "\n" + `{"text": "` + strings.Repeat("x", maxLine) + `"}` + "\n{", "2 bad lines: line 2 is longer than 16777216 bytes; line 3 is not JSON"},
		"long element":     {"[" + ok + `, {"text": "` + strings.Repeat("x", maxLine+100_000) + `"}]`, "element 2 is longer than 16777216 bytes"},
	} {
		_, err := read(tc.data)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %.300v, want %q", name, err, tc.want)
		}
	}
}

// TestManyBadLines wants one description for every kind of fault, with how many lines have it and which come first.
func TestManyBadLines(t *testing.T) {
	_, err := read(strings.Repeat("{\n", 50))
	var bad *Error
	if !errors.As(err, &bad) || len(bad.Bad) != 1 || bad.Count != 50 || bad.Bad[0].Count != 50 || len(bad.Bad[0].Lines) != 10 || bad.Bad[0].Lines[9] != 10 {
		t.Fatalf("error %v", err)
	}
	wantError(t, err, ErrInvalid, "the training data has 50 bad lines: line 1 is", "(50 lines have a fault of this kind: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 40 more)")

	// Names, numbers and what is quoted do not make another kind; what is wrong does, also inside a message.
	user := `{"role": "user", "content": "q"}, `
	_, err = read(`{"messages": [` + user + `{"content": "a"}]}` + "\n" + // no role
		`{"messages": [` + user + user + `{"role": "assistant"}]}` + "\n" + // no content
		`{"messages": [` + user + user + user + `{"content": "b"}]}` + "\n" +
		`{"messages": [` + user + `{"role": "assistant", "content": "a", "weight": 0.5}]}` + "\n" +
		`{"messages": [` + user + `{"role": "assistant", "content": "a", "loss": "maybe"}]}` + "\n")
	if !errors.As(err, &bad) || len(bad.Bad) != 3 || bad.Count != 5 {
		t.Fatalf("error %v", err)
	}
	wantError(t, err, ErrInvalid, "line 1 messages[1] has no role (2 lines have a fault of this kind: 1, 3); line 2 messages[2] has no content; "+
		"line 4 messages[1] has a weight of 0.5: 0 or 1, or false or true, is expected (2 lines have a fault of this kind: 4, 5)")

	// Of many kinds the first are described.
	bad = &Error{Dataset: "training", Unit: "line"}
	for i := range 30 {
		bad.note(i+1, fmt.Sprint(i), fmt.Sprint("is bad ", i))
	}
	if text := bad.Error(); len(bad.Bad) != maxFaults || !strings.HasSuffix(text, "line 20 is bad 19; and 10 more") {
		t.Errorf("error %s", text)
	}
}

// TestReadErrors wants an error of the reader to end the reading, in either form.
func TestReadErrors(t *testing.T) {
	for _, data := range []string{conversations(2), "[" + `{"text": "a"},`, ""} {
		r := io.MultiReader(strings.NewReader(data), iotest.ErrReader(io.ErrClosedPipe))
		err := Read(r, ReadOptions{Which: "training"}, func(int, Conversation) error { return nil })
		if !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%.20q: error %v", data, err)
		}
	}
	stop := errors.New("stop")
	for _, data := range []string{conversations(2), `[{"text": "a"}]`} {
		if err := Read(strings.NewReader(data), ReadOptions{Which: "training"}, func(int, Conversation) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("%.20q: error %v", data, err)
		}
	}
}

// TestDemoSets reads the project's own training sets.
func TestDemoSets(t *testing.T) {
	files, err := filepath.Glob("../../demo/data/*.jsonl")
	if err != nil || len(files) < 8 {
		t.Fatalf("%v, error %v", files, err)
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := Read(f, ReadOptions{Which: "training"}, func(int, Conversation) error { return nil }); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		f.Close()
	}
}

// TestRealSets reads the datasets in a folder that others have made, where there is one.
func TestRealSets(t *testing.T) {
	dir := os.Getenv("LORIKEET_TEST_DATASETS")
	if dir == "" {
		t.Skip("LORIKEET_TEST_DATASETS names no folder of .json and .jsonl files")
	}
	for _, pattern := range []string{"*.json", "*.jsonl"} {
		files, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, file := range files {
			n := 0
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			err = Read(f, ReadOptions{Which: "training"}, func(int, Conversation) error { n++; return nil })
			f.Close()
			t.Logf("%s: %d lines, error %v", filepath.Base(file), n, err)
			if err != nil || n == 0 {
				t.Errorf("%s: %d lines, error %v", file, n, err)
			}
		}
	}
}

// FuzzDataset wants every input to be read to its end, with bounded reports, and what is read to be renderable.
func FuzzDataset(f *testing.F) {
	f.Add(conversations(2))
	f.Add("[" + strings.ReplaceAll(strings.TrimSpace(conversations(2)), "\n", ",") + "]")
	f.Add("\xef\xbb\xbf{\"prompt\": [], \"completion\": \"b\"}\r\n\r\n")
	f.Add(`{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "tools": "[{}]"}`)
	f.Add(`{"instruction": "a", "input": "", "output": "c", "history": [["q", "r"]], "system": "s"}`)
	f.Add(`{"messages": [{"role": "assistant", "content": [{"type": "text", "value": "x"}], "weight": 1}]}` + "\n[")
	enc := newTestEncoder(f, nil)
	f.Fuzz(func(t *testing.T, data string) {
		err := Read(strings.NewReader(data), ReadOptions{Which: "training"}, func(line int, c Conversation) error {
			list, err := enc.Encode(context.Background(), c)
			for _, x := range list {
				if len(x.Tokens) == 0 || len(x.Tokens) != len(x.Labels) || len(x.Tokens) > enc.o.MaxLength || x.Labels[len(x.Labels)-1] < 0 {
					t.Fatalf("line %d gives %+v", line, x)
				}
			}
			return err
		})
		var bad *Error
		if err != nil && (!errors.As(err, &bad) || len(bad.Bad) > maxFaults || bad.Count < len(bad.Bad)) {
			t.Fatalf("error %v", err)
		}
	})
}
