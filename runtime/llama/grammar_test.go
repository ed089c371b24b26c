//go:build cgo && linux

package llama

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/demo"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

func TestGrammar(t *testing.T) {
	m := openDemo(t)
	d := openDevice(t, m, DeviceOptions{Sequences: 1, Cells: 256, Batch: 128, Threads: 1})
	for _, s := range []runtime.Sampling{
		{Grammar: `root ::= "yes" | "no"`},
		{Grammar: `root ::= "yes" | "no"`, Temperature: 1.5, Seed: 3},
		{Grammar: `root ::= "yes" | "no"`, Temperature: 1.5, Seed: 4, TopK: 3},
	} {
		text, err := generate(t, m, d, 0, question, s, 20)
		if err != nil || text != "yes" && text != "no" {
			t.Errorf("%+v: the answer is %q, %v", s, text, err)
		}
	}
	free, _ := generate(t, m, d, 0, question, runtime.Sampling{}, 30)
	bound, err := generate(t, m, d, 0, question, runtime.Sampling{Grammar: `root ::= [^\x00]*`}, 30)
	if err != nil || bound != free {
		t.Errorf("a grammar that admits everything turns %q into %q, %v", free, bound, err)
	}
	// When the grammar is at its end only the end of the answer is left; ignore_eos forbids that too.
	if text, err := generate(t, m, d, 0, question, runtime.Sampling{Grammar: `root ::= "ab"`, IgnoreEOS: true}, 20); err == nil || text != "ab" {
		t.Errorf("no token is possible after %q, and the error is %v", text, err)
	}
	for grammar, fault := range map[string]string{
		`root ::= "a`:             "unexpected end",
		`root ::= other`:          "other",
		`answer ::= "a"`:          "root",
		`root ::= root "a" | "b"`: "left recursion",
		`root := "a"`:             "expecting ::=",
		"root ::= " + strings.Repeat("(", 100000): "longer",
		"root ::= " + strings.Repeat("(", 1000):   "nested",
		"root ::= \"\x00\"":                       "zero",
		"":                                        "",
	} {
		_, err := m.NewSampler(runtime.Sampling{Grammar: grammar}, nil)
		if grammar != "" && (!errors.Is(err, runtime.ErrSampling) || !strings.Contains(err.Error(), fault)) {
			t.Errorf("%.40q: error %v, want one with %q", grammar, err, fault)
		}
	}
}

// Everybody waits while a grammar is followed: one that can be read in very many ways at once is refused, or ends
// the answer where it comes to that.
func TestAmbiguousGrammars(t *testing.T) {
	m := openDemo(t)
	optional := strings.Repeat(`"a"? `, 500)
	for _, grammar := range []string{
		`root ::= ("a"?){2000}`, `root ::= "b" ("a"?){200} "c"`, `root ::= ` + optional,
		"root ::= y y y y y y y y y y y y\ny ::= z z z z z z z z z z z z\nz ::= \"a\" | \"\"",
	} {
		if _, err := m.NewSampler(runtime.Sampling{Grammar: grammar}, nil); !errors.Is(err, runtime.ErrSampling) || !strings.Contains(err.Error(), "ways") {
			t.Errorf("%.40q: error %v", grammar, err)
		}
	}
	chain := ""
	for i := range 3000 {
		chain += fmt.Sprintf("r%d ::= r%d\n", i, i+1)
	}
	for grammar, fault := range map[string]string{
		// Empty only because others are: llama.cpp goes down this one without end.
		"root ::= x x x\nx ::= y*\ny ::= z*\nz ::= \"a\"*": "left recursion",
		"root ::= a root | \"x\"\na ::= b\nb ::= \"\"":     "left recursion",
		"root ::= r0\n" + chain + "r3000 ::= \"a\"":        "deep",
		`root ::= ` + strings.Repeat(`"a"{2000} `, 300):    "elements",
	} {
		if _, err := m.NewSampler(runtime.Sampling{Grammar: grammar}, nil); !errors.Is(err, runtime.ErrSampling) || !strings.Contains(err.Error(), fault) {
			t.Errorf("%.40q: error %v, want one with %q", grammar, err, fault)
		}
	}
	d := openDevice(t, m, DeviceOptions{Sequences: 1, Cells: 256, Batch: 128, Threads: 1})
	doubling := `root ::= "a" root "b" | "a" root "c" | "d"`
	bias := map[runtime.Token]float32{'a': 100} // the demo's first tokens are the bytes
	if text, err := generate(t, m, d, 0, question, runtime.Sampling{Grammar: doubling, LogitBias: bias}, 20); err == nil || text != "aaaaaa" {
		t.Errorf("the answer is %q, %v; want an end after 3·2^6 ways", text, err)
	}
	for _, grammar := range []string{`root ::= "\"" [^"]{0,2000} "\""`, `root ::= ([a-z]+ " "?){1,50} | [0-9]*`} {
		if s, err := m.NewSampler(runtime.Sampling{Grammar: grammar}, nil); err != nil {
			t.Errorf("%q: %v", grammar, err)
		} else {
			s.Close()
		}
	}
}

// Whatever a grammar says, it is refused or followed: the process does not end and does not hang.
func FuzzGrammar(f *testing.F) {
	for _, seed := range []string{
		`root ::= "yes" | "no"`, "root ::= x x x\nx ::= y*\ny ::= z*\nz ::= \"a\"*", `root ::= ("a"?){2000}`, `root ::= [^a-z]{1,3} "\x41" .`,
		"root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"d\"", "root ::= a # comment\na ::= (\"x\" | a2)+\na2 ::= \"\"",
	} {
		f.Add(seed)
	}
	m, err := Load(Options{Bytes: demo.Base(), Name: "demo"})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { m.Close() })
	logits := make([]float32, m.Facts().VocabSize)
	for i := range logits {
		logits[i] = float32(i * 7919 % 1000)
	}
	f.Fuzz(func(t *testing.T, grammar string) {
		s, err := m.NewSampler(runtime.Sampling{Grammar: grammar}, nil)
		if err != nil {
			return
		}
		defer s.Close()
		for range 6 {
			if token := s.(*Sampler).draw(logits); token < 0 || m.EndOfGeneration(token) {
				return
			}
		}
	})
}
