package engine

import "github.com/lorikeet-ai/lorikeet/runtime"

// kv keeps the books of the Device's KV cache: which tokens each sequence holds, under which key, and how
// many distinct cells that takes. A cell that several sequences share is counted once. It decides what is
// reused and what is dropped; the Engine tells the Device.
type kv struct {
	limits  runtime.Limits
	seqs    []sequence
	used    int   // distinct cells held
	running int   // of them, those that running streams hold
	clock   int64 // counts uses
}

// cell is the KV of one token.
type cell struct {
	held int // sequences that hold it
	busy int // of them, sequences of running streams
}

// sequence is what one of the Device's sequences holds: a running stream's tokens, or after its end a
// cached prefix, which new streams with the same key may share or take over.
type sequence struct {
	key     string
	tokens  []runtime.Token // decoded, in order; cells goes with it
	cells   []*cell
	busy    bool  // a running stream's
	private bool  // not to be shared, and nothing to keep
	used    int64 // when it was last used
	doubt   bool  // empty in the books, but the Device failed to forget it: to be forgotten before it is used
}

func newKV(l runtime.Limits) *kv { return &kv{limits: l, seqs: make([]sequence, l.Sequences)} }

// free returns how many cells nobody holds.
func (k *kv) free() int { return k.limits.Cells - k.used }

// open gives seq to a running stream.
func (k *kv) open(seq int, key string, private bool) {
	s := &k.seqs[seq]
	s.key, s.private, s.busy = key, private, true
	for _, c := range s.cells {
		k.occupy(c)
	}
	k.touch(seq)
}

// close takes seq from its stream; its tokens become a cached prefix.
func (k *kv) close(seq int) {
	s := &k.seqs[seq]
	s.busy = false
	for _, c := range s.cells {
		k.vacate(c)
	}
	k.touch(seq)
}

func (k *kv) touch(seq int) {
	k.clock++
	k.seqs[seq].used = k.clock
}

func (k *kv) occupy(c *cell) {
	if c.busy++; c.busy == 1 {
		k.running++
	}
}

func (k *kv) vacate(c *cell) {
	if c.busy--; c.busy == 0 {
		k.running--
	}
}

// add appends decoded tokens to a running stream's sequence.
func (k *kv) add(seq int, tokens []runtime.Token) {
	s := &k.seqs[seq]
	s.tokens = append(s.tokens, tokens...)
	for range tokens {
		c := &cell{held: 1}
		k.occupy(c)
		s.cells = append(s.cells, c)
	}
	k.used += len(tokens)
}

// copy lets dst, which is empty and not open, share the first n cells of src.
func (k *kv) copy(dst, src, n int) {
	from, to := &k.seqs[src], &k.seqs[dst]
	to.tokens = append([]runtime.Token(nil), from.tokens[:n]...)
	to.cells = append([]*cell(nil), from.cells[:n]...)
	for _, c := range to.cells {
		c.held++
	}
	k.touch(src)
}

// cut drops the tokens of seq at positions from and up.
func (k *kv) cut(seq, from int) {
	s := &k.seqs[seq]
	for _, c := range s.cells[from:] {
		if s.busy {
			k.vacate(c)
		}
		if c.held--; c.held == 0 {
			k.used--
		}
	}
	s.tokens, s.cells = s.tokens[:from], s.cells[:from]
}

// match returns the sequence that has the longest usable beginning of tokens under key, and how long it
// is: 0 where there is none. The last token is never part of it: it must be decoded to get an answer.
func (k *kv) match(key string, tokens []runtime.Token) (seq, n int) {
	seq = -1
	for i := range k.seqs {
		s := &k.seqs[i]
		if s.key != key || s.private {
			continue
		}
		m := common(s.tokens, tokens[:len(tokens)-1])
		if !k.limits.Cut && m < len(s.tokens) {
			continue
		}
		if m > n || m == n && m > 0 && k.whole(i, m) && !k.whole(seq, m) {
			seq, n = i, m
		}
	}
	return seq, n
}

// whole reports whether an idle sequence has n tokens and no more: to take it over loses nothing.
func (k *kv) whole(seq, n int) bool {
	s := &k.seqs[seq]
	return !s.busy && len(s.tokens) == n
}

// seat is where a stream is to live: in sequence seq, which is emptied first if it is not the source of
// what is reused, with the first n cells of src.
type seat struct{ seq, src, n int }

// seat finds a sequence for a stream with these tokens. It takes over the cached prefix that the tokens
// continue, or shares its cells in an empty sequence, or in that of the cached prefix least worth keeping.
// It returns false where every sequence is busy.
func (k *kv) seat(key string, tokens []runtime.Token, private bool) (seat, bool) {
	src, n := -1, 0
	if !private {
		src, n = k.match(key, tokens)
	}
	if n > 0 && k.whole(src, n) {
		return seat{src, src, n}, true
	}
	for i := range k.seqs {
		if s := &k.seqs[i]; !s.busy && !s.doubt && len(s.tokens) == 0 {
			return seat{i, src, n}, true
		}
	}
	if i := k.victim(src); i >= 0 {
		return seat{i, src, n}, true
	}
	if n > 0 && !k.seqs[src].busy {
		return seat{src, src, n}, true // nothing is idle but what it continues in part: cut that
	}
	return seat{}, false
}

// victim returns the cached prefix to drop first, other than except, or -1 where there is none: one that
// another sequence contains, or else the one that was used least recently.
func (k *kv) victim(except int) int {
	oldest, spare := -1, -1
	for i := range k.seqs {
		s := &k.seqs[i]
		if i == except || s.busy || len(s.tokens) == 0 {
			continue
		}
		if oldest < 0 || s.used < k.seqs[oldest].used {
			oldest = i
		}
		if (spare < 0 || s.used < k.seqs[spare].used) && k.contained(i) {
			spare = i
		}
	}
	if spare >= 0 {
		return spare
	}
	return oldest
}

// contained reports whether another sequence holds all that seq holds, and could be shared instead.
func (k *kv) contained(seq int) bool {
	s := &k.seqs[seq]
	for i := range k.seqs {
		o := &k.seqs[i]
		if i == seq || o.key != s.key || o.private || !k.limits.Cut {
			continue
		}
		if common(o.tokens, s.tokens) == len(s.tokens) {
			return true
		}
	}
	return false
}

// need returns how many more cells running streams would hold if a stream with these tokens sat there.
func (k *kv) need(at seat, tokens []runtime.Token) int {
	need := len(tokens)
	if at.n > 0 {
		for _, c := range k.seqs[at.src].cells[:at.n] {
			if c.busy > 0 {
				need--
			}
		}
	}
	return need
}

// common returns the length of the longest common beginning of two token strings.
func common(a, b []runtime.Token) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
