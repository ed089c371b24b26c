package engine

import "github.com/lorikeet-ai/lorikeet/runtime"

// kv records what the Device's KV cache holds: which tokens each sequence has, with which adapters (the spans), and how
// many distinct cells that takes. A cell that several sequences share is counted once. It decides which prefix is
// reused and which is dropped; the Engine then tells the Device.
type kv struct {
	limits  runtime.Limits
	seqs    []sequence
	used    int   // distinct cells held
	running int   // of them, those that running streams hold
	clock   int64 // counts uses
}

// cell is the KV of one token.
type cell struct {
	holders int // sequences that hold it
	busy    int // of them, sequences of running streams
}

// sequence is what one of the Device's sequences holds: the tokens of a running stream, or after its end a cached
// prefix, which new streams may share or continue as far as their spans agree.
type sequence struct {
	spans      spans
	tokens     []runtime.Token // decoded, in order; cells goes with it
	cells      []*cell
	busy       bool  // a running stream's
	private    bool  // neither shared nor kept as a cached prefix
	used       int64 // when it was last used
	needsReset bool  // recorded as empty, but the Device failed to empty it: it must do so before the sequence is used
}

func newKV(l runtime.Limits) *kv { return &kv{limits: l, seqs: make([]sequence, l.Sequences)} }

// free returns how many cells no sequence holds.
func (k *kv) free() int { return k.limits.Cells - k.used }

// open assigns seq to a running stream.
func (k *kv) open(seq int, with spans, private bool) {
	s := &k.seqs[seq]
	s.spans, s.private, s.busy = with, private, true
	for _, c := range s.cells {
		k.markBusy(c)
	}
	k.touch(seq)
}

// close takes seq from its stream; its tokens become a cached prefix.
func (k *kv) close(seq int) {
	s := &k.seqs[seq]
	s.busy = false
	for _, c := range s.cells {
		k.markIdle(c)
	}
	k.touch(seq)
}

func (k *kv) touch(seq int) {
	k.clock++
	k.seqs[seq].used = k.clock
}

func (k *kv) markBusy(c *cell) {
	if c.busy++; c.busy == 1 {
		k.running++
	}
}

func (k *kv) markIdle(c *cell) {
	if c.busy--; c.busy == 0 {
		k.running--
	}
}

// add appends decoded tokens to a running stream's sequence.
func (k *kv) add(seq int, tokens []runtime.Token) {
	s := &k.seqs[seq]
	s.tokens = append(s.tokens, tokens...)
	for range tokens {
		c := &cell{holders: 1}
		k.markBusy(c)
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
		c.holders++
	}
	k.touch(src)
}

// cut drops the tokens of seq at positions from and up.
func (k *kv) cut(seq, from int) {
	s := &k.seqs[seq]
	for _, c := range s.cells[from:] {
		if s.busy {
			k.markIdle(c)
		}
		if c.holders--; c.holders == 0 {
			k.used--
		}
	}
	s.tokens, s.cells = s.tokens[:from], s.cells[:from]
}

// match returns the sequence that holds the longest usable prefix of tokens with these spans, and the length of that
// prefix: 0 where there is none. The last token is never part of it: it must be decoded to get an answer.
func (k *kv) match(with spans, tokens []runtime.Token) (seq, n int) {
	seq = -1
	for i := range k.seqs {
		s := &k.seqs[i]
		agree := s.spans.agree(with)
		if agree == 0 || s.private {
			continue
		}
		m := min(agree, commonPrefix(s.tokens, tokens[:len(tokens)-1]))
		if !k.limits.CanTruncate && m < len(s.tokens) {
			continue
		}
		if m > n || m == n && m > 0 && k.holdsExactly(i, m) && !k.holdsExactly(seq, m) {
			seq, n = i, m
		}
	}
	return seq, n
}

// holdsExactly reports whether an idle sequence has n tokens and no more, so that continuing it drops nothing.
func (k *kv) holdsExactly(seq, n int) bool {
	s := &k.seqs[seq]
	return !s.busy && len(s.tokens) == n
}

// mixes says where a stream will run: in sequence seq, with the first n cells of sequence src. Where seq is not
// src it is emptied first.
type mixes struct{ seq, src, n int }

// choosePlacement finds a sequence for a stream with these tokens. It continues the cached prefix that the tokens begin
// with, or shares its cells in an empty sequence, or in the sequence of the cached prefix that is evicted first.
// It returns false where every sequence is busy.
func (k *kv) choosePlacement(with spans, tokens []runtime.Token, private bool) (mixes, bool) {
	src, n := -1, 0
	if !private {
		src, n = k.match(with, tokens)
	}
	if n > 0 && k.holdsExactly(src, n) {
		return mixes{src, src, n}, true
	}
	for i := range k.seqs {
		if s := &k.seqs[i]; !s.busy && !s.needsReset && len(s.tokens) == 0 {
			return mixes{i, src, n}, true
		}
	}
	if i := k.evictionCandidate(src); i >= 0 {
		return mixes{i, src, n}, true
	}
	if n > 0 && !k.seqs[src].busy {
		return mixes{src, src, n}, true // the only idle sequence is the one that it continues in part: truncate that
	}
	return mixes{}, false
}

// evictionCandidate returns the cached prefix to drop first, other than except, or -1 where there is none: one whose
// tokens another sequence holds too, or else the one that was used least recently.
func (k *kv) evictionCandidate(except int) int {
	oldest, spare := -1, -1
	for i := range k.seqs {
		s := &k.seqs[i]
		if i == except || s.busy || len(s.tokens) == 0 {
			continue
		}
		if oldest < 0 || s.used < k.seqs[oldest].used {
			oldest = i
		}
		if (spare < 0 || s.used < k.seqs[spare].used) && k.coveredByAnother(i) {
			spare = i
		}
	}
	if spare >= 0 {
		return spare
	}
	return oldest
}

// coveredByAnother reports whether another sequence that could be shared holds all tokens of seq.
func (k *kv) coveredByAnother(seq int) bool {
	s := &k.seqs[seq]
	for i := range k.seqs {
		o := &k.seqs[i]
		if i == seq || o.private || !k.limits.CanTruncate || o.spans.agree(s.spans) < len(s.tokens) {
			continue
		}
		if commonPrefix(o.tokens, s.tokens) == len(s.tokens) {
			return true
		}
	}
	return false
}

// cellsNeeded returns how many more cells running streams would hold if a stream with these tokens started there.
func (k *kv) cellsNeeded(at mixes, tokens []runtime.Token) int {
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

// commonPrefix returns the length of the longest common prefix of two token strings.
func commonPrefix(a, b []runtime.Token) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
