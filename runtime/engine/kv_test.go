package engine

import (
	"math/rand/v2"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// The records agree with a count of all cells, whatever is opened, copied, cut and closed.
func TestKVRecordsRandomly(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		k := newKV(runtime.Limits{Sequences: 5, Cells: 100, Batch: 8, CanTruncate: true})
		for range 200 {
			seq := r.IntN(5)
			s := &k.seqs[seq]
			switch op := r.IntN(5); {
			case op == 0 && !s.busy:
				k.open(seq, nil, false)
			case op == 1 && s.busy:
				k.close(seq)
			case op == 2 && s.busy:
				k.add(seq, make([]runtime.Token, min(k.free(), r.IntN(9))))
			case op == 3:
				k.cut(seq, r.IntN(len(s.tokens)+1))
			case op == 4 && !s.busy && len(s.tokens) == 0:
				if src := r.IntN(5); src != seq {
					k.copy(seq, src, r.IntN(len(k.seqs[src].tokens)+1))
				}
			}
			checkRecords(t, k)
		}
	}
}

func checkRecords(t *testing.T, k *kv) {
	t.Helper()
	held, busy := map[*cell]int{}, map[*cell]int{}
	for i := range k.seqs {
		s := &k.seqs[i]
		if len(s.tokens) != len(s.cells) {
			t.Fatalf("sequence %d has %d tokens in %d cells", i, len(s.tokens), len(s.cells))
		}
		for _, c := range s.cells {
			held[c]++
			if s.busy {
				busy[c]++
			}
		}
	}
	for c, n := range held {
		if c.holders != n || c.busy != busy[c] {
			t.Fatalf("a cell says it is held %d times, by %d running; it is %d and %d", c.holders, c.busy, n, busy[c])
		}
	}
	if k.used != len(held) || k.running != len(busy) {
		t.Fatalf("the records say %d used, %d running; it is %d and %d", k.used, k.running, len(held), len(busy))
	}
}

func tokens(s string) []runtime.Token {
	var ts []runtime.Token
	for _, b := range []byte(s) {
		ts = append(ts, runtime.Token(b))
	}
	return ts
}

func TestChoosePlacement(t *testing.T) {
	type held struct {
		key, tokens   string
		busy, private bool
	}
	for _, test := range []struct {
		name string
		seqs []held
		cut  bool
		key  string
		want mixes
		ok   bool
	}{
		{"nothing there", []held{{}, {}}, true, "", mixes{0, -1, 0}, true},
		{"taken over where nothing is lost", []held{{}, {tokens: "hel"}}, true, "", mixes{1, 1, 3}, true},
		{"shared where something would be", []held{{}, {tokens: "help"}}, true, "", mixes{0, 1, 3}, true},
		{"shared with one that runs", []held{{tokens: "hel", busy: true}, {}}, true, "", mixes{1, 0, 3}, true},
		{"the last token is decoded again", []held{{tokens: "hello"}, {}}, true, "", mixes{1, 0, 4}, true},
		{"the longest", []held{{tokens: "he"}, {tokens: "hell"}, {}}, true, "", mixes{1, 1, 4}, true},
		{"never across keys", []held{{tokens: "hel", key: "x"}, {}}, true, "", mixes{1, -1, 0}, true},
		{"of the same key", []held{{tokens: "hel", key: "x"}, {}}, true, "x", mixes{0, 0, 3}, true},
		{"never a private one", []held{{tokens: "hel", busy: true, private: true}, {}}, true, "", mixes{1, -1, 0}, true},
		{"the oldest goes", []held{{tokens: "ab"}, {tokens: "cd"}}, true, "", mixes{0, -1, 0}, true},
		{"the oldest but the source goes", []held{{tokens: "help"}, {tokens: "cd"}}, true, "", mixes{1, 0, 3}, true},
		{"the source itself, cut", []held{{tokens: "help"}, {tokens: "cd", busy: true}}, true, "", mixes{0, 0, 3}, true},
		{"no cut: nothing of it", []held{{tokens: "help"}, {}}, false, "", mixes{1, -1, 0}, true},
		{"no cut: all of it", []held{{tokens: "hel"}, {}}, false, "", mixes{0, 0, 3}, true},
		{"no cut: emptied", []held{{tokens: "help"}}, false, "", mixes{0, -1, 0}, true},
		{"all run", []held{{tokens: "hel", busy: true}}, true, "", mixes{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := newKV(runtime.Limits{Sequences: len(test.seqs), Cells: 100, CanTruncate: test.cut})
			for i, h := range test.seqs {
				if h.tokens == "" {
					continue
				}
				k.open(i, spans{{key: h.key}}, h.private)
				k.add(i, tokens(h.tokens))
				if !h.busy {
					k.close(i)
				}
			}
			if got, ok := k.choosePlacement(spans{{key: test.key}}, tokens("hello"), false); got != test.want || ok != test.ok {
				t.Errorf("mixes is %+v %v, want %+v %v", got, ok, test.want, test.ok)
			}
		})
	}
}
