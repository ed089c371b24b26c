package grammar

// This file refuses rules that a matcher could not follow in bounded time: it keeps every way of reading the answer so
// far, and at each place goes down from rule to rule until it comes to a character.

// check returns an *Error for rules that begin with themselves, that begin with each other too deep, or that have a
// place with too many readings.
func (c *compiler) check() error {
	m := &measure{rules: c.flat, empty: make([]bool, len(c.flat)), ways: make([]ways, len(c.flat)), depth: make([]int, len(c.flat))}
	m.findEmpty()
	order := m.order()
	if len(order) < len(m.rules) {
		r := m.rules[m.cycle(order)]
		return r.at.fault("in the rule %s something begins with itself (left recursion), or repeats what may be empty", shown(r.owner))
	}
	for _, id := range order {
		r := m.rules[id]
		m.beginnings(id, func(with int) { m.depth[id] = max(m.depth[id], m.depth[with]+1) })
		if m.depth[id] >= maxDescent {
			return r.at.fault("the rule %s and those that it begins with go more than %d rules deep", shown(r.owner), maxDescent)
		}
		m.ways[id], _ = m.readings(id)
	}
	for _, id := range order {
		if _, most := m.readings(id); most > MaxReadings {
			r := m.rules[id]
			return r.at.fault("in the rule %s a place can be read in more than %d ways", shown(r.owner), MaxReadings)
		}
	}
	return nil
}

// ways counts how a place can be read: up to the next character or token, and as nothing.
type ways struct{ first, empty int }

// manyWays is where counting stops; the product of two such numbers does not overflow.
const manyWays = 1 << 30

type measure struct {
	rules []flatRule
	empty []bool // whether a rule admits the empty text
	ways  []ways
	depth []int // of the rules that a rule begins with, one after the other
}

// eachAlternative calls f with the elements of every alternative of a rule.
func (m *measure) eachAlternative(id int, f func([]Element)) {
	elements, from := m.rules[id].elements, 0
	for i, e := range elements {
		if e.Kind == Or || e.Kind == End {
			f(elements[from:i])
			from = i + 1
		}
	}
}

// findEmpty sets empty. An alternative waits for the first of its rules that is not known to be empty, and is read on
// from there, so that every element is looked at once.
func (m *measure) findEmpty() {
	type spot struct{ id, index int } // an element of a rule
	waiting := make([][]spot, len(m.rules))
	var found []int
	read := func(at spot) {
		elements := m.rules[at.id].elements
		for ; elements[at.index].Kind == Ref; at.index++ {
			if needed := elements[at.index].Value; !m.empty[needed] {
				waiting[needed] = append(waiting[needed], at)
				return
			}
		}
		if k := elements[at.index].Kind; (k == Or || k == End) && !m.empty[at.id] {
			m.empty[at.id] = true
			found = append(found, at.id)
		}
	}
	for id, r := range m.rules {
		start := true
		for i, e := range r.elements {
			if start {
				read(spot{id, i})
			}
			start = e.Kind == Or
		}
	}
	for len(found) > 0 {
		id := found[len(found)-1]
		found = found[:len(found)-1]
		for _, at := range waiting[id] {
			read(at)
		}
	}
}

// beginnings calls f for every rule that a rule can begin with, once for each place.
func (m *measure) beginnings(id int, f func(with int)) {
	m.eachAlternative(id, func(s []Element) {
		for _, e := range s {
			if e.Kind != Ref {
				return
			}
			f(int(e.Value))
			if !m.empty[e.Value] {
				return
			}
		}
	})
}

// order returns the rules, each after those that it can begin with. Rules that can begin with themselves, and those
// that begin with such, are not among them.
func (m *measure) order() []int {
	begins := make([][]int, len(m.rules)) // rule -> those that can begin with it
	waits := make([]int, len(m.rules))
	var out []int
	for id := range m.rules {
		m.beginnings(id, func(with int) {
			begins[with] = append(begins[with], id)
			waits[id]++
		})
		if waits[id] == 0 {
			out = append(out, id)
		}
	}
	for at := 0; at < len(out); at++ {
		for _, id := range begins[out[at]] {
			if waits[id]--; waits[id] == 0 {
				out = append(out, id)
			}
		}
	}
	return out
}

// cycle returns a rule that begins with itself; ordered are those that do not.
func (m *measure) cycle(ordered []int) int {
	settled := make([]bool, len(m.rules))
	for _, id := range ordered {
		settled[id] = true
	}
	at := 0
	for settled[at] {
		at++
	}
	for seen := map[int]bool{}; !seen[at]; {
		seen[at] = true
		next := at
		m.beginnings(at, func(with int) {
			if !settled[with] {
				next = with
			}
		})
		at = next
	}
	return at
}

// readings counts the ways of a rule over its alternatives, and the most at any of its places. The first needs only the
// ways of the rules that it begins with, the second those of all rules in it.
func (m *measure) readings(id int) (total ways, most int) {
	m.eachAlternative(id, func(s []Element) {
		rest := ways{0, 1} // of what follows, from the end of the alternative to its beginning
		for i := len(s) - 1; i >= 0; i-- {
			if s[i].Kind == Ref {
				w := m.ways[s[i].Value]
				rest = ways{min(w.first+w.empty*rest.first, manyWays), min(w.empty*rest.empty, manyWays)}
			} else {
				rest = ways{1, 0}
			}
			most = max(most, rest.first, rest.empty)
		}
		total = ways{min(total.first+rest.first, manyWays), min(total.empty+rest.empty, manyWays)}
	})
	return total, max(most, total.first, total.empty)
}
