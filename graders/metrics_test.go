package graders

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
)

// original computes the metrics with the libraries that they come from.
const original = `
import json, sys
from rapidfuzz import fuzz
from sacrebleu.metrics import BLEU
from nltk.translate.gleu_score import sentence_gleu
from rouge_score.rouge_scorer import RougeScorer
rouge = RougeScorer(["rouge1", "rouge2", "rouge3", "rouge4", "rouge5", "rougeL"], use_stemmer=False)
bleu = BLEU(effective_order=True)
out = []
for a, b in json.load(sys.stdin):
    r = rouge.score(b, a)
    x = {"fuzzy_match": fuzz.ratio(a, b) / 100, "bleu": bleu.sentence_score(a, [b]).score / 100,
         "gleu": sentence_gleu([b.split()], a.split()), "rouge_l": r["rougeL"].fmeasure}
    for n in range(1, 6):
        x["rouge_%d" % n] = r["rouge%d" % n].fmeasure
    out.append(x)
json.dump(out, sys.stdout)
`

// pairs are texts to compare: written ones, and random ones over few words, so that they have much in common.
func pairs() (list [][2]string) {
	list = [][2]string{
		{"", ""}, {"", "a"}, {"a", ""}, {"the same text", "the same text"}, {"The cat sat on the mat.", "the cat is on the mat"},
		{"It costs 3.50, or 1,000-2,000!", "it costs 3.5 or 1,000 - 2,000"}, {"naïve café, 東京 タワー", "naive cafe 東京タワー"},
		{"a &amp; b &quot;c&quot; <skipped> x-\ny", "a & b \"c\" x y"}, {"line one\nline two\t end ", "line one line two end"},
		{"{\"a\": [1, 2]}", "{\"a\":[1,2]}"}, {"x", "x"}, {"x y", "y x"}, {"\u0130stanbul K\u212A", "istanbul kk"}, {"a.b.c. 1.2.3 .5 -5 5-", "a . b . c 1.2.3"},
		{strings.Repeat("long text with words ", 40), strings.Repeat("long words with text ", 37)}, {"1-2 a_b c`d e~f [g] ^h", "1 - 2 a_b c ` d e ~ f [ g ] ^h"},
	}
	r := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("a b c the The cat. cat, 1.5 1,5 x-y don't – é 東 & % $5 (z) \"q\"")
	text := func() string {
		var out []string
		for range r.IntN(30) {
			out = append(out, words[r.IntN(len(words))])
		}
		return strings.Join(out, " ")
	}
	for range 300 {
		list = append(list, [2]string{text(), text()})
	}
	return list
}

// TestMetricsAreTheOriginals compares with RapidFuzz, SacreBLEU, NLTK and rouge_score.
func TestMetricsAreTheOriginals(t *testing.T) {
	python := testtools.Python(t, "rapidfuzz==3.14.1", "sacrebleu==2.5.1", "nltk==3.9.1", "rouge-score==0.1.2")
	list := pairs()
	input, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-c", original)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &stderr
	raw, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var want []map[string]float64
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	for i, p := range list {
		for name, x := range want[i] {
			got, err := metrics[name](Tools{})(t.Context(), p[0], p[1])
			if err != nil || math.Abs(got-x) > 1e-9 {
				t.Errorf("%s of %.60q and %.60q: %v (%v), the original says %v", name, p[0], p[1], got, err, x)
			}
		}
	}
}

// plainCommonSubsequence is the table that everybody knows.
func plainCommonSubsequence(a, b []rune) int {
	before := make([]int, len(b)+1)
	for _, x := range a {
		row := make([]int, len(b)+1)
		for j, y := range b {
			if row[j+1] = max(row[j], before[j+1]); x == y {
				row[j+1] = before[j] + 1
			}
		}
		before = row
	}
	return before[len(b)]
}

func TestCommonSubsequence(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	text := func(n, letters int) []rune {
		out := make([]rune, r.IntN(n+1))
		for i := range out {
			out[i] = rune('a' + r.IntN(letters))
		}
		return out
	}
	for i := range 2000 {
		letters := 1 + i%9*(1+i%7*4) // so many that some are rare
		a, b := text(20+i%300, letters), text(20+i%200, letters)
		if got, want := commonSubsequence(a, b), plainCommonSubsequence(a, b); got != want {
			t.Fatalf("%q and %q: %d, want %d", string(a), string(b), got, want)
		}
	}
}

// TestManyDifferentCharacters compares the longest texts that are compared, of which each character is another one: that takes no more
// memory than texts of few.
func TestManyDifferentCharacters(t *testing.T) {
	var b strings.Builder
	for i := range maxCompared {
		b.WriteRune(rune(0x20000 + i))
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if x := fuzzyMatch(b.String(), b.String()); x != 1 {
		t.Errorf("a text and itself are %v alike", x)
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 32<<20 {
		t.Errorf("it took %d MiB", took>>20)
	}
}
