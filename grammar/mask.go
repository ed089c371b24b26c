package grammar

import (
	"bytes"
	"slices"

	"github.com/lorikeet-ai/lorikeet/grammar/automaton"
)

// This file finds the tokens that may come next. A walk through the tree of all tokens follows only beginnings that are
// possible: few, at most places. Within a string or free text they are many, but nearly all of them stay in it: those are
// found once for each state of the text, for all answers, and only what follows the end of the text depends on what
// stands around it.

// manyBytes is from how many possible next bytes on the tokens of a state are found once.
const manyBytes = 24

// Mask sets the bits of the tokens that may come next, token t at bit t%64 of word t/64, and clears all others. bits has
// Tokens.Words() words.
func (m *Matcher) Mask(bits []uint64) error {
	if m.KnownMask(bits) {
		return nil
	}
	clear(bits)
	m.steps, m.again = 0, m.again[:0]
	var walked, special []thread
	for i := range m.threads {
		t := &m.threads[i]
		if t.phase == inText && t.element.control {
			special = append(special, *t)
		}
		if m.cacheable(t) {
			m.useCached(t, bits)
		} else {
			walked = append(walked, *t)
		}
	}
	m.walk(m.tokens.plain, walked, bits)
	m.tryAgain(bits)
	m.control = true
	m.walk(m.tokens.control, special, bits)
	m.control = false
	if m.CanEnd() {
		for _, t := range m.tokens.ends {
			set(bits, t)
		}
	}
	err := m.check()
	if err == nil && m.state != nil {
		m.tokens.states.addMask(m.state, bits)
	}
	return err
}

// KnownMask is Mask where that is only a copy: it reports whether it is.
func (m *Matcher) KnownMask(bits []uint64) bool {
	return m.state != nil && m.tokens.states.copyMask(m.state, bits)
}

func set(bits []uint64, t int32) { bits[t/64] |= 1 << (t % 64) }

// manyThreads is from how many threads on each is walked alone: they admit much the same, and what one admits is not tried
// again.
const manyThreads = 4

// walk sets the bits of the tokens of a tree that can follow threads.
func (m *Matcher) walk(t *tree, threads []thread, bits []uint64) {
	for len(threads) >= manyThreads {
		m.walkNodes(t, 0, int32(len(t.nodes)), threads[:1:1], 0, bits)
		threads = threads[1:]
	}
	if len(threads) > 0 {
		m.walkNodes(t, 0, int32(len(t.nodes)), threads, 0, bits)
	}
}

// known reports whether the bits of all tokens that begin with a node are set.
func (t *tree) known(node int32, bits []uint64) bool {
	for _, token := range t.tokens[t.nodes[node].from:t.lastToken(node)] {
		if bits[token/64]>>(token%64)&1 == 0 {
			return false
		}
	}
	return true
}

// lastToken returns the index after the last token that begins with a node.
func (t *tree) lastToken(node int32) int32 {
	if end := t.nodes[node].end; int(end) < len(t.nodes) {
		return t.nodes[end].from
	}
	return int32(len(t.tokens))
}

func (m *Matcher) walkNodes(t *tree, from, to int32, threads []thread, depth int, bits []uint64) {
	length := len(m.text)
	for i := from; i < to; {
		n := &t.nodes[i]
		if t.known(i, bits) {
			i = n.end
			continue
		}
		next := m.advance(threads, n.byte, depth)
		if len(next) > 0 {
			for _, token := range t.tokens[n.from:n.to] {
				set(bits, token)
			}
			if n.end > i+1 {
				m.walkNodes(t, i+1, n.end, next, depth+1, bits)
			}
		}
		m.text = m.text[:length]
		if i = n.end; m.steps > maxWork {
			return
		}
	}
}

// cacheable reports whether many tokens can follow a thread, and most of them do not depend on what is below it.
func (m *Matcher) cacheable(t *thread) bool {
	return (t.phase == inText || t.phase == inFreeKey) && t.lexer().Fanout(t.state) >= manyBytes
}

// lexer is that of a thread in a text.
func (t *thread) lexer() *automaton.Lexer {
	if t.phase == inFreeKey {
		return t.element.object.free[t.count].keys
	}
	return t.element.lexer
}

// counted reports whether the number of a text's characters has bounds.
func (t *thread) counted() bool { return t.phase == inText && t.element.most > 0 }

// remembered reports whether a text is compared with others when it is complete.
func (t *thread) remembered() bool {
	return t.inNested() || t.phase == inFreeKey || slices.ContainsFunc(t.below, func(f *frame) bool {
		return f.element != nil && f.element.kind == kindArray && f.element.array.unique
	})
}

// useCached sets the bits of the tokens that can follow a thread in a text.
func (m *Matcher) useCached(t *thread, bits []uint64) {
	key := maskKey{lexer: t.lexer(), state: t.state, slack: -1}
	if t.counted() {
		// One token cannot tell larger numbers from these, as long as their difference is the same.
		few := m.tokens.longest + key.lexer.MostLeast + 1
		key.slack, key.need = t.element.most-t.units, max(t.element.least-t.count, 0)
		key.slack, key.need = key.slack-max(key.need-few, 0), min(key.need, few)
		key.slack = min(key.slack, key.need+few)
	}
	var labels []int32
	if t.phase == inText {
		labels = t.element.labels
	}
	mask, ok := m.tokens.masks.get(key)
	if !ok {
		mask = m.tokens.lexicalMask(key, t.counted(), labels)
		m.steps += len(m.tokens.plain.nodes) / 4
		m.tokens.masks.add(key, mask, mask.size(key))
	}
	for i, w := range mask.within {
		bits[i] |= w
	}
	for _, a := range mask.after {
		switch {
		case a.label >= 0:
			m.walk(a.rest, m.start(t.element.then[a.label], t.below, nil), bits)
		case t.phase == inFreeKey:
			m.walk(a.rest, m.endFreeKey(t, nil), bits)
		default:
			m.walk(a.rest, m.complete(t, nil), bits)
		}
	}
	if t.remembered() {
		m.refine(t, mask)
	}
}

// refine notes the tokens whose bits depend on what a text is compared with: those in which another one can end too, and
// those that begin as others do.
func (m *Matcher) refine(t *thread, mask *lexicalMask) {
	for _, a := range mask.after {
		m.again = append(m.again, a.several...)
	}
	plain := m.tokens.plain
	texts, from := t.used[t.low:t.high], t.from
	if t.seen != nil {
		texts, from = t.seen.texts[t.seen.low:t.seen.high], t.seen.from
	}
	for _, text := range texts {
		at, end := int32(0), int32(len(plain.nodes))
		rest, read := text[len(m.text)-int(from):], 0
		for _, b := range []byte(rest) {
			for at < end && plain.nodes[at].byte != b {
				at = plain.nodes[at].end
			}
			if at >= end {
				break
			}
			m.again = append(m.again, plain.tokens[plain.nodes[at].from:plain.nodes[at].to]...)
			at, end = at+1, plain.nodes[at].end
			read++
		}
		if read == len(rest) { // the tokens in which the whole text is
			for ; at < end; at++ {
				m.again = append(m.again, plain.tokens[plain.nodes[at].from:plain.nodes[at].to]...)
			}
		}
	}
}

// tryAgain sets or clears the bits of the tokens that were noted, by reading each under one thread after the other.
func (m *Matcher) tryAgain(bits []uint64) {
	slices.Sort(m.again)
	for _, token := range slices.Compact(m.again) {
		bits[token/64] &^= 1 << (token % 64)
		for i := range m.threads {
			if len(m.readToken(m.threads[i:i+1:i+1], token)) > 0 {
				set(bits, token)
				break
			}
		}
	}
}

// lexicalMask finds the tokens that are possible in a state of a lexer.
func (t *Tokens) lexicalMask(key maskKey, counted bool, labels []int32) *lexicalMask {
	b := maskBuilder{tokens: t, key: key, counted: counted, labels: labels, rests: make(map[int32][]int32), ends: make(map[int32][]int)}
	b.mask.within = make([]uint64, t.Words())
	b.walk(0, int32(len(t.plain.nodes)), key.state, 0, 0, 0)
	for label, tokens := range b.rests {
		texts := make(restTexts, len(tokens))
		for i, token := range tokens {
			texts[i] = t.pieces[token][b.ends[label][i]:]
		}
		b.mask.after = append(b.mask.after, &after{label, newRestTree(slices.Clone(tokens), texts), several(tokens, texts)})
	}
	return &b.mask
}

// several returns the tokens in which another key or item can end after a text.
func several(tokens []int32, rests restTexts) (out []int32) {
	for i, rest := range rests {
		if bytes.Count(rest, []byte{'"'}) > 1 || bytes.Count(rest, []byte{','}) > 1 {
			out = append(out, tokens[i])
		}
	}
	return out
}

type maskBuilder struct {
	tokens  *Tokens
	key     maskKey
	counted bool
	labels  []int32
	mask    lexicalMask
	rests   map[int32][]int32 // by label: tokens that go on after the end
	ends    map[int32][]int   // and how many bytes of each are before it
}

func (b *maskBuilder) walk(from, to, state, count, used int32, depth int) {
	lexer, tree := b.key.lexer, b.tokens.plain
	for i := from; i < to; {
		n := &tree.nodes[i]
		next, now, units := lexer.Next(state, n.byte), count, used
		if next >= 0 && b.counted {
			c, u := lexer.Completes(state, next)
			now, units = now+c, units+u
			if !lexer.Fits(next, b.key.slack-units, b.key.need-now) {
				next = -1
			}
		}
		if next < 0 {
			i = n.end
			continue
		}
		for _, token := range tree.tokens[n.from:n.to] {
			set(b.mask.within, token)
		}
		if lexer.Accept[next] {
			label := int32(-1)
			if b.labels != nil {
				label = b.labels[next]
			}
			for _, token := range tree.tokens[n.to:tree.lastToken(i)] {
				b.rests[label] = append(b.rests[label], token)
				b.ends[label] = append(b.ends[label], depth+1)
			}
		}
		if n.end > i+1 && !lexer.Ends(next) {
			b.walk(i+1, n.end, next, now, units, depth+1)
		}
		i = n.end
	}
}

// restTexts are what follows in some tokens.
type restTexts [][]byte

// newRestTree makes the tree of what follows in tokens.
func newRestTree(tokens []int32, texts restTexts) *tree {
	order := make([]int32, len(tokens))
	for i := range order {
		order[i] = int32(i)
	}
	t := newTree(order, texts)
	for i, at := range t.tokens {
		t.tokens[i] = tokens[at]
	}
	return t
}

// size is about how many bytes of memory an element takes with all below it.
func (e *element) size() int {
	size := 0
	seen := map[*automaton.Lexer]bool{}
	e.each(func(e *element) {
		size += 200
		lexers := []*automaton.Lexer{e.lexer}
		if e.object != nil {
			for _, f := range e.object.free {
				lexers = append(lexers, f.keys)
			}
			for _, n := range e.object.names {
				size += 64 + len(n.key)
			}
		}
		for _, l := range slices.DeleteFunc(lexers, func(l *automaton.Lexer) bool { return l == nil || seen[l] }) {
			seen[l] = true
			size += l.Size()
		}
	})
	return size
}
