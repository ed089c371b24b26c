package training

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/training/dataset"
)

// TestExamplesOfEveryKind writes examples of every kind, reads them back, and finds any byte that has changed.
func TestExamplesOfEveryKind(t *testing.T) {
	sequence := func(n, first int) dataset.Sequence {
		s := dataset.Sequence{Tokens: []runtime.Token{}, Labels: []runtime.Token{}}
		for i := range n {
			label := runtime.Token(-1)
			if i >= first {
				label = runtime.Token(100 + i)
			}
			s.Tokens, s.Labels = append(s.Tokens, runtime.Token(i)), append(s.Labels, label)
		}
		return s
	}
	for kind, list := range map[dataset.Kind][]dataset.Example{
		dataset.Supervised: {{Sequence: sequence(5, 2)}, {Sequence: sequence(1, 0)}, {Sequence: sequence(9, 9)}},
		dataset.Preference: {
			{Sequence: sequence(5, 2), Rejected: sequence(7, 2), Prompt: 3}, {Sequence: sequence(2, 1), Rejected: sequence(2, 1), Prompt: 2},
			{Sequence: sequence(6, 0), Rejected: sequence(1, 0), Prompt: 1},
		},
		dataset.UnpairedPreference: {
			{Sequence: sequence(5, 2), Prompt: 3, Desirable: true}, {Sequence: sequence(4, 2), Prompt: 3}, {Sequence: sequence(3, 1), Prompt: 2, Desirable: true},
		},
		dataset.PromptOnly: {
			{Sequence: sequence(5, 5), Prompt: 5, Line: []byte(`{"prompt":"a"}`)}, {Sequence: sequence(2, 2), Prompt: 2, Line: []byte(`{}`)},
			{Sequence: sequence(3, 3), Prompt: 3, Line: []byte(`{"x":[1.0]}`)},
		},
	} {
		d := folder{dir: t.TempDir()}
		if err := d.mkdir(d.path("tmp")); err != nil {
			t.Fatal(err)
		}
		var raw []byte
		from := exampleSet{kind: kind}
		for i := range list {
			at := int64(len(raw))
			raw = appendExample(raw, kind, &list[i])
			from.add(at, list[i].Length(), dataset.Labelled(list[i:i+1]))
		}
		from.file = bytes.NewReader(raw)
		if err := writeExamples(d, examplesFile, &from, []int{2, 0}, []int{1}); err != nil {
			t.Fatal(err)
		}
		x, err := openExamples(d.path(examplesFile))
		if err != nil {
			t.Fatalf("%v: %v", kind, err)
		}
		train, err := x.train.read([]int{1, 0})
		if err != nil || !reflect.DeepEqual(train, []dataset.Example{list[0], list[2]}) {
			t.Errorf("%v: to train on %+v, error %v", kind, train, err)
		}
		eval, err := x.eval.read([]int{0})
		if err != nil || !reflect.DeepEqual(eval, list[1:2]) {
			t.Errorf("%v: to measure on %+v, error %v", kind, eval, err)
		}
		if n := x.train.learned([]int{0, 1}); n != dataset.Labelled([]dataset.Example{list[0], list[2]}) || x.train.lengths[1] != list[0].Length() {
			t.Errorf("%v: %d tokens are learned, lengths %v", kind, n, x.train.lengths)
		}
		x.Close()
		damage(t, d.path(examplesFile))
	}
}

// damage changes every byte of the file in turn.
func damage(t *testing.T, path string) {
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "bad")
	for i := range whole {
		changed := bytes.Clone(whole)
		changed[i] ^= 0x41
		if err := os.WriteFile(bad, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		if x, err := openExamples(bad); !errors.Is(err, ErrDamaged) {
			if err == nil {
				x.Close()
			}
			t.Errorf("byte %d of %d is another one: error %v", i, len(whole), err)
		}
	}
}
