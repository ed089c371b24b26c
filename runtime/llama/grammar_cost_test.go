//go:build cgo && linux

package llama

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// openLargeVocabulary opens a model of random weights with 128,000 tokens: bytes, words, signs, ideographs, and runs of
// one letter, which an ambiguous grammar can be made to count.
func openLargeVocabulary(t testing.TB) *Model {
	t.Helper()
	const n = 128_000
	s := sizes{arch: "llama", embedding: 64, feedForward: 64, layers: 1, vocab: n, heads: 2, kvHeads: 1, tied: true}
	tokens, kinds, scores := []string{"<unk>", "<s>", "</s>"}, []int32{2, 3, 3}, make([]float32, n)
	seen := map[string]bool{}
	add := func(text string, kind int32) {
		if len(tokens) < n && !seen[text] {
			seen[text] = true
			tokens, kinds = append(tokens, text), append(kinds, kind)
		}
	}
	for b := range 256 {
		add(fmt.Sprintf("<0x%02X>", b), 6)
	}
	for _, c := range "abcxyz([{\"0 " {
		for k := range 64 {
			add(strings.ReplaceAll(strings.Repeat(string(c), k+1), " ", "▁"), 1)
		}
	}
	for c := rune(0x4e00); c < 0x8e00; c++ {
		add(string(c), 1)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for len(tokens) < n {
		letters := "etaoinshrdlucmfwypvbgkjqxz"
		if r.IntN(8) == 0 {
			letters = "0123456789\"{}[]():,.-_/\\"
		}
		var b strings.Builder
		for range 1 + r.IntN(9) {
			b.WriteByte(letters[min(r.IntN(len(letters)), r.IntN(len(letters)))])
		}
		add([]string{"", "▁"}[r.IntN(2)]+b.String(), 1)
	}
	f, err := quant.Open(s.file(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m := f.Metadata.Clone()
	m.Set("tokenizer.ggml.model", "llama")
	m.Set("tokenizer.ggml.tokens", tokens)
	m.Set("tokenizer.ggml.token_type", kinds)
	m.Set("tokenizer.ggml.scores", scores)
	m.Set("tokenizer.ggml.bos_token_id", uint32(1))
	m.Set("tokenizer.ggml.eos_token_id", uint32(2))
	path := filepath.Join(t.TempDir(), "large.gguf")
	err = quant.WriteFile(path, &m, f.Tensors, func(i int, w io.Writer) error {
		x, err := f.ReadF32(f.Tensors[i].Name)
		return errors.Join(err, writeF32(w, x))
	})
	if err != nil {
		t.Fatal(err)
	}
	return openModel(t, Options{Path: path})
}

// threadTime is the CPU time of the calling thread, so that what else the machine does is not measured.
func threadTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// expensive are legal grammars that a matcher without bounds follows for seconds, minutes or without end, and some ordinary
// ones. They say which end they come to where the answer is the letter a as long as the grammar admits it.
var expensive = map[string]string{
	"doubling":     `root ::= "a" root "b" | "a" root "c" | "d"`,
	"tripling":     `root ::= "a" root root | "a" root | "a"`,
	"equal":        `root ::= ("a" | "a" | "aa" | "aaa" | [a-z] | .)*`,
	"nested":       `root ::= (("a" | "b")+ | ("a" | "c")+ ("d" | "a"+)?)+`,
	"palindrome":   `root ::= "a" root "a" | "b" root "b" | .`,
	"open":         `root ::= "(" root ")" | "[" root "]" | "a" root "z" | .`,
	"counted":      "root ::= " + strings.Join(manyTimes(25, `([^%c] "a"?){0,700}`), " | "),
	"products":     `root ::= (("a"{2000}){2000} | "b"){2000}`,
	"classes":      "root ::= (" + strings.Join(manyClasses(120, 100), " | ") + ")*",
	"one class":    "root ::= " + manyClasses(1, 4000)[0] + "*",
	"deep":         "root ::= " + strings.Repeat("(", 190) + `[a-y]` + strings.Repeat(` | "a" "z")`, 100) + strings.Repeat(`)`, 90),
	"tokens":       `root ::= (!<[5]> | !<[6]> | <[300]> | [a-z]+ | "é" .)*`,
	"many tokens":  "root ::= (" + strings.Join(manyTimes(100, `!<[3%d]>`), " | ") + ")*",
	"everything":   `root ::= .*`,
	"anything but": `root ::= ([^"] | "\"" [^z]{0,200} "\"")*`,
}

// manyTimes fills numbers or letters into a format.
func manyTimes(n int, format string) []string {
	out := make([]string, n)
	for i := range out {
		if out[i] = fmt.Sprintf(format, i); strings.Contains(format, "%c") {
			out[i] = fmt.Sprintf(format, 'b'+i)
		}
	}
	return out
}

// manyClasses are n classes of that many scattered characters.
func manyClasses(n, size int) []string {
	r := rand.New(rand.NewPCG(3, 4))
	out := make([]string, n)
	for i := range out {
		var b strings.Builder
		for range size {
			fmt.Fprintf(&b, "%c", 'a'+r.IntN(26))
			b.WriteRune(rune(0x4e00 + r.IntN(0x4000)))
		}
		out[i] = "[" + b.String() + "]"
	}
	return out
}

// No token takes more work than GRAMMAR_BURST steps, and they do not take more than GRAMMAR_REFILL on average.
func TestWorkForATokenIsBounded(t *testing.T) {
	m := openLargeVocabulary(t)
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	logits := make([]float32, m.facts.VocabSize)
	for name, text := range expensive {
		start := threadTime(t)
		s, err := m.NewSampler(runtime.Sampling{Grammar: text}, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		made := threadTime(t) - start
		r := rand.New(rand.NewPCG(9, 10))
		var worst, total time.Duration
		draws, last := 0, runtime.Token(0)
		for ; draws < 60 && last >= 0 && !m.EndOfGeneration(last); draws++ {
			for i := range logits {
				logits[i] = r.Float32()
			}
			logits[3+'a'], logits[2] = 2, -1
			if draws%2 == 0 { // one that no grammar admits, so that all tokens are looked at
				logits[3] = 3
			}
			start := threadTime(t)
			last = s.(*Sampler).draw(logits)
			took := threadTime(t) - start
			worst, total = max(worst, took), total+took
		}
		s.Close()
		t.Logf("%-12s made in %3d ms; %2d tokens, the last is %d; at most %3d ms, %5.1f ms on average", name, made.Milliseconds(), draws, last,
			worst.Milliseconds(), float64(total.Microseconds())/1000/float64(draws))
		if made > 2*time.Second || worst > time.Second || total > time.Second+time.Duration(draws)*100*time.Millisecond {
			t.Errorf("%s: made in %v, a token takes %v, all %v", name, made, worst, total)
		}
		if last < -1 && last != costs {
			t.Errorf("%s: the last draw is %d", name, last)
		}
	}
}

// A stream whose grammar costs too much ends with an error that says so. The one beside it in every batch does not see
// it.
func TestFailingSamplerEndsItsOwnStream(t *testing.T) {
	m := openDemo(t)
	d := openDevice(t, m, DeviceOptions{Sequences: 2, Cells: 512, Batch: 256, Threads: 1})
	prompt, err := m.Tokenize(question, true, true)
	if err != nil {
		t.Fatal(err)
	}
	alone, err := generate(t, m, d, 0, question, runtime.Sampling{IgnoreEOS: true}, 30)
	if err != nil {
		t.Fatal(err)
	}
	var samplers [2]runtime.Sampler
	for i, s := range []runtime.Sampling{{IgnoreEOS: true}, {Grammar: expensive["doubling"], LogitBias: map[runtime.Token]float32{'a': 100}}} {
		if samplers[i], err = m.NewSampler(s, prompt); err != nil {
			t.Fatal(err)
		}
		defer samplers[i].Close()
	}
	var rows []runtime.Row
	for seq := range 2 {
		for pos, token := range prompt {
			rows = append(rows, runtime.Row{Token: token, Seq: seq, Pos: pos, Top: -1})
		}
		rows[len(rows)-1].Sampler = samplers[seq]
	}
	var text []byte
	var failure error
	for pos := len(prompt); len(text) < len(alone); pos++ {
		choices, err := d.Decode(rows)
		if err != nil {
			t.Fatal(err)
		}
		rows = rows[:0]
		for seq, c := range choices {
			if seq == 1 && c.Err != nil {
				failure = c.Err
				continue
			}
			if c.Err != nil {
				t.Fatal(c.Err)
			}
			if seq == 0 {
				text = append(text, m.Piece(c.Token, false)...)
			}
			rows = append(rows, runtime.Row{Token: c.Token, Seq: seq, Pos: pos, Sampler: samplers[seq], Top: -1})
		}
	}
	if string(text) != alone {
		t.Errorf("beside a sampler that fails the answer is %q, alone %q", text, alone)
	}
	if !errors.Is(failure, runtime.ErrGrammarCost) || !strings.Contains(failure.Error(), "more than 128 ways") {
		t.Errorf("the other stream ends with %v", failure)
	}
}

// A token that a grammar names stands for itself and for no part of another token.
func TestGrammarsWithTokens(t *testing.T) {
	m := openDemo(t)
	d := openDevice(t, m, DeviceOptions{Sequences: 1, Cells: 256, Batch: 128, Threads: 1})
	the, err := m.Tokenize(" the", false, false)
	if err != nil || len(the) != 1 {
		t.Fatal(the, err)
	}
	end := m.facts.EOS
	bias := map[runtime.Token]float32{the[0]: 100}
	for text, want := range map[string]string{
		fmt.Sprintf(`root ::= " t" <[%d]>`, the[0]):                  " t the",
		fmt.Sprintf(`root ::= <[%d]> !<[%d]> <[%d]>`, 'a', 'b', 'c'): "a thec",
		fmt.Sprintf(`root ::= " th" !<[%d]> "."`, the[0]):            " th",
		fmt.Sprintf(`root ::= (<[%d]> | " the") "x"`, the[0]):        " thex",
		`root ::= "x" <|im_start|> " the"`:                           "x the",
		fmt.Sprintf(`root ::= !<[%d]>`, end):                         " the",
	} {
		got, err := generate(t, m, d, 0, question, runtime.Sampling{Grammar: text, LogitBias: bias}, 20)
		if err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("%s: the answer is %q, %v; want %q", text, got, err, want)
		}
	}
	for text, fault := range map[string]string{
		fmt.Sprintf(`root ::= "x" <[%d]>`, end): "ends the answer", `root ::= <[9999999]>`: "not one token", `root ::= <|im_start|>> `: "newline",
		`root ::= <|im_st|>`: "not one token", `root ::= <`: "not closed",
	} {
		if _, err := m.NewSampler(runtime.Sampling{Grammar: text}, nil); !errors.Is(err, runtime.ErrSampling) || !strings.Contains(err.Error(), fault) {
			t.Errorf("%s: error %v", text, err)
		}
	}
}

// Generated texts, valid or not: each is refused with its place or followed within its budget.
func TestHostileGrammars(t *testing.T) {
	m := openDemo(t)
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	r := rand.New(rand.NewPCG(11, 12))
	logits := make([]float32, m.facts.VocabSize)
	followed, refused := 0, 0
	for range 2000 {
		text := hostileGrammar(r)
		start := threadTime(t)
		s, err := m.NewSampler(runtime.Sampling{Grammar: text}, nil)
		if err != nil {
			if !errors.Is(err, runtime.ErrSampling) || !strings.Contains(err.Error(), "grammar: ") {
				t.Fatalf("%q: %v", text, err)
			}
			refused++
		} else {
			for range 8 {
				for i := range logits {
					logits[i] = r.Float32()
				}
				if token := s.(*Sampler).draw(logits); token < 0 || m.EndOfGeneration(token) {
					if token < -1 && token != costs {
						t.Fatalf("%q: draw %d", text, token)
					}
					break
				}
			}
			s.Close()
			followed++
		}
		if took := threadTime(t) - start; took > 2*time.Second {
			t.Errorf("%.200q takes %v", text, took)
		}
	}
	t.Logf("%d grammars followed, %d refused", followed, refused)
	if followed < 200 || refused < 200 {
		t.Errorf("%d grammars were followed, %d refused: want many of both", followed, refused)
	}
}

// hostileGrammar is a grammar of one of several kinds, often broken somewhere.
func hostileGrammar(r *rand.Rand) string {
	number := func() int { return []int{0, 1, 2, 3, 50, 500, 2000, 2001}[r.IntN(8)] }
	text := wideGrammar(r)
	switch r.IntN(6) {
	case 0: // repetitions of repetitions
		text = "root ::= " + []string{`"ab"`, `[a-z]`, `("a" | "b")`, `("a"?)`, `(.)`}[r.IntN(5)]
		for range r.IntN(5) {
			from := number()
			text += []string{fmt.Sprintf("{%d}", from), fmt.Sprintf("{%d,}", from), fmt.Sprintf("{%d,%d}", from, number()), "*", "+"}[r.IntN(5)]
		}
	case 1: // nesting
		depth := 1 + r.IntN(230)
		text = "root ::= " + strings.Repeat("( ", depth) + `"a"` + strings.Repeat([]string{")", ")*", ")+", ")?", ` | "a")`, ` root2 "b")`}[r.IntN(6)], depth) + "\nroot2 ::= [ab]"
	case 2: // alternatives that begin alike
		text = "root ::= (" + strings.Join(manyTimes(1+r.IntN(150), `"aa%d"`), " | ") + ")" + []string{"", "*", "+", "{5}"}[r.IntN(4)]
	case 3: // rules that recurse
		text = ""
		for i := range 6 {
			name := []string{"root", "r1", "r2", "r3", "r4", "r5"}[i]
			text += fmt.Sprintf("%s ::= [a-%c] r%d r%d | \"%c\" | r%d \"a\"\n", name, 'b'+i, 1+r.IntN(5), 1+r.IntN(5), 'a'+i, min(i+1+r.IntN(2), 5))
		}
	}
	if r.IntN(3) == 0 { // noise
		b := []byte(text)
		for range 1 + r.IntN(3) {
			at := r.IntN(len(b) + 1)
			noise := []string{"#", "\r", "\n", "\"", "\\", "[", "]", "(", ")", "|", "::=", "{", "}", "*", "<[3]>", "!", "\xff", "\x00", "é", "root", "<|im_end|>", "<", "\\u12"}[r.IntN(23)]
			b = append(b[:at:at], append([]byte(noise), b[at:]...)...)
		}
		text = string(b)
	}
	return text
}
