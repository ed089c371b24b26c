package tokenizer

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
)

// classScript prints, for each pre-tokenizer that removes what it finds, the ranges of the characters that it removes.
const classScript = `
import json, sys
from tokenizers import Regex, pre_tokenizers as p
all = [chr(c) for c in range(0x110000) if not 0xd800 <= c < 0xe000]
out = {}
for name in json.load(sys.stdin):
    split = p.Punctuation("removed") if name == "Punctuation" else p.Split(Regex("^" if name == "Digits" else name), "removed")
    found = set()
    for at in range(0, len(all), 2048):
        block = all[at:at + 2048]
        if name == "Digits":
            found.update(t for t, _ in p.Digits(True).pre_tokenize_str("".join("a" + c for c in block)) if len(t) == 1 and t != "a")
        else:
            found.update(block)
            for t, _ in split.pre_tokenize_str("".join(block)):
                found.difference_update(t)
    ranges = []
    for c in sorted(map(ord, found)):
        if ranges and ranges[-1][1] == c - 1:
            ranges[-1][1] = c
        else:
            ranges.append([c, c])
    out[name] = ranges
json.dump(out, sys.stdout)
`

// TestClasses compares the classes of every character with tokenizers'.
func TestClasses(t *testing.T) {
	python := testtools.Python(t, "tokenizers==0.23.3")
	classes := map[string]class{
		`\p{Lu}`: upperCase, `\p{Ll}`: lowerCase, `\p{Lt}`: titleCase, `\p{Lm}`: modifier, `\p{Lo}`: otherLetter, `\p{L}`: letter,
		`\p{M}`: mark, `\p{N}`: number, `\d`: digit, `\p{P}`: punctuation, `\p{S}`: symbol, `\s`: space, `[\r\n]`: lineBreak,
		`\p{Han}`: han, `[A-Za-z]`: asciiLetter, "Digits": numeric, "Punctuation": pointed,
	}
	var names []string
	for name := range classes {
		names = append(names, name)
	}
	in, err := json.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(python, "-c", classScript)
	command.Stdin = bytes.NewReader(in)
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	var ranges map[string][][2]rune
	if err := json.Unmarshal(out, &ranges); err != nil {
		t.Fatal(err)
	}
	c := newClassifier()
	for name, class := range classes {
		want := make([]bool, 0x110000)
		for _, x := range ranges[name] {
			for r := x[0]; r <= x[1]; r++ {
				want[r] = true
			}
		}
		var wrong []string
		for r := range rune(0x110000) {
			if surrogate := r >= 0xd800 && r < 0xe000; !surrogate && (c.of(r)&class != 0) != want[r] {
				wrong = append(wrong, string(r))
			}
		}
		if len(wrong) > 0 {
			t.Errorf("%s: %d characters differ: %+q", name, len(wrong), strings.Join(wrong[:min(len(wrong), 10)], " "))
		}
	}
}
