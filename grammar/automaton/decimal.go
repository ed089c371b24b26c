package automaton

import (
	"math/big"
	"strconv"
	"strings"
)

// This file has automata of numbers as they are written without an exponent: -12.5. In canonical form, without a sign of
// zero, zeros in front or zeros at the end of a fraction, every number has one text, so that sets of numbers can be
// intersected and subtracted. Spelled lets zeros follow a fraction.

const (
	maxWhole    = 30 // digits before the point, of any number here
	maxFraction = 20 // and after it
)

// Decimal is a number as its digits. Whole is "0" or has no zeros in front, Fraction has none at its end.
type Decimal struct {
	Negative        bool
	Whole, Fraction string
}

// ParseDecimal reads a JSON number. ok is false where it has too many digits for the automata here; then huge says
// whether it is too large rather than too fine.
func ParseDecimal(text string) (d Decimal, ok, huge bool) {
	mantissa, power, _ := strings.Cut(strings.ToLower(text), "e")
	mantissa, d.Negative = strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	point := len(whole) - (len(whole+fraction) - len(digits)) // digits before the point
	digits = strings.TrimRight(digits, "0")
	if digits == "" {
		return Decimal{Whole: "0"}, true, false
	}
	if power != "" {
		e, err := strconv.Atoi(strings.TrimPrefix(power, "+"))
		if err != nil || e < -10_000_000 || e > 10_000_000 {
			return d, false, !strings.HasPrefix(power, "-")
		}
		point += e
	}
	switch {
	case point > maxWhole:
		return d, false, true
	case len(digits)-point > maxFraction:
		return d, false, false
	case point <= 0:
		d.Whole, d.Fraction = "0", strings.Repeat("0", -point)+digits
	case point >= len(digits):
		d.Whole = digits + strings.Repeat("0", point-len(digits))
	default:
		d.Whole, d.Fraction = digits[:point], digits[point:]
	}
	return d, true, false
}

// String returns the canonical text.
func (d Decimal) String() string {
	s := d.Whole
	if d.Fraction != "" {
		s += "." + d.Fraction
	}
	if d.Negative {
		s = "-" + s
	}
	return s
}

func (d Decimal) zero() bool { return d.Whole == "0" && d.Fraction == "" }

// Rat returns the number.
func (d Decimal) Rat() *big.Rat {
	r, _ := new(big.Rat).SetString(d.String())
	return r
}

// Bound is one side of a range.
type Bound struct {
	Decimal
	Exclusive bool
}

const (
	positiveText = `(0|[1-9][0-9]{0,29})(\.[0-9]{0,19}[1-9])?`
	wholeText    = `(0|-?[1-9][0-9]{0,29})`
)

func mustRegexp(text string) *DFA {
	d, err := Regexp("^(" + text + ")$")
	if err != nil {
		panic("automaton: " + text + " " + err.Error())
	}
	return d
}

// Numbers accepts every number in canonical form, Whole the integers among them.
var (
	Numbers  = mustRegexp(`-?` + positiveText).without("-0")
	Whole    = mustRegexp(wholeText)
	positive = mustRegexp(positiveText)
)

func (d *DFA) without(text string) *DFA {
	word, err := Words([]string{text})
	if err == nil {
		d, err = Subtract(d, word)
	}
	if err != nil {
		panic("automaton: " + err.Error())
	}
	return d
}

// Between returns the numbers from low to high; nil stands for no bound.
func Between(low, high *Bound) (*DFA, error) {
	upper, err := positiveBetween(low, high)
	if err != nil {
		return nil, err
	}
	lower, err := positiveBetween(high.negated(), low.negated())
	if err != nil {
		return nil, err
	}
	var n NFA
	from, minus, to := n.State(), n.State(), n.State()
	n.Add(from, '-', '-', minus)
	n.Embed(upper, from, to)
	n.Embed(lower.without("0"), minus, to)
	return n.Determinize(from, to)
}

func (b *Bound) negated() *Bound {
	if b == nil {
		return nil
	}
	out := *b
	out.Negative = !b.Negative && !b.zero()
	return &out
}

// positiveBetween has those of the numbers that have no sign.
func positiveBetween(low, high *Bound) (*DFA, error) {
	out := positive
	if high != nil {
		if high.Negative {
			return nothing(), nil
		}
		d, err := compared(high, '<')
		if err != nil {
			return nil, err
		}
		if out, err = Intersect(out, d); err != nil {
			return nil, err
		}
	}
	if low != nil && !low.Negative {
		d, err := compared(low, '>')
		if err != nil {
			return nil, err
		}
		if out, err = Intersect(out, d); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// compared accepts the canonical texts of numbers without a sign that are less, or more, than a bound or equal to it;
// and texts that are not canonical.
func compared(b *Bound, sign byte) (*DFA, error) {
	var n NFA
	from, to := n.State(), n.State()
	fraction := n.State() // from where any fraction, or none, may follow
	n.Skip(fraction, to)
	point, more := n.State(), n.State()
	n.Add(fraction, '.', '.', point)
	n.Add(point, '0', '9', more)
	n.Add(more, '0', '9', more)
	n.Skip(more, to)
	digits := func(at int32, k int) int32 {
		for range k {
			next := n.State()
			n.Add(at, '0', '9', next)
			at = next
		}
		return at
	}
	differ := func(at int32, digit byte) (int32, bool) { // by a digit that decides
		lo, hi := byte('0'), digit-1
		if sign == '>' {
			lo, hi = digit+1, '9'
		}
		if lo > hi {
			return 0, false
		}
		next := n.State()
		n.Add(at, int32(lo), int32(hi), next)
		return next, true
	}
	// Fewer or more digits before the point.
	if sign == '>' {
		at := digits(from, len(b.Whole)+1)
		n.Add(at, '0', '9', at)
		n.Skip(at, fraction)
	} else {
		for k := 1; k < len(b.Whole); k++ {
			n.Skip(digits(from, k), fraction)
		}
	}
	at := from
	for i := range len(b.Whole) {
		if next, ok := differ(at, b.Whole[i]); ok {
			n.Skip(digits(next, len(b.Whole)-1-i), fraction)
		}
		next := n.State()
		n.Add(at, int32(b.Whole[i]), int32(b.Whole[i]), next)
		at = next
	}
	n.comparedFraction(b, sign, at, to, more, differ)
	return n.Determinize(from, to)
}

// comparedFraction goes on where the digits before the point are those of the bound. more is where any digits may follow.
func (n *NFA) comparedFraction(b *Bound, sign byte, at, to, more int32, differ func(at int32, digit byte) (int32, bool)) {
	if sign == '<' && (b.Fraction != "" || !b.Exclusive) || sign == '>' && b.Fraction == "" && !b.Exclusive {
		n.Skip(at, to) // no fraction
	}
	next := n.State()
	n.Add(at, '.', '.', next)
	at = next
	for i := range len(b.Fraction) {
		if i > 0 && sign == '<' {
			n.Skip(at, to)
		}
		if next, ok := differ(at, b.Fraction[i]); ok {
			n.Skip(next, more)
		}
		next := n.State()
		n.Add(at, int32(b.Fraction[i]), int32(b.Fraction[i]), next)
		at = next
	}
	if b.Fraction != "" && !b.Exclusive {
		n.Skip(at, to)
	}
	if sign == '>' {
		n.Add(at, '0', '9', more)
	}
}

// maxModulus bounds the automata of Multiples.
const maxModulus = 20_000

// Multiples returns the multiples of a number greater than 0.
func Multiples(of Decimal) (*DFA, error) {
	modulus, err := strconv.Atoi(strings.TrimLeft(of.Whole+of.Fraction, "0"))
	if err != nil || modulus > maxModulus {
		return nil, ErrTooLarge
	}
	return multiplesOf(modulus, len(of.Fraction))
}

// multiplesOf has a state for each remainder and number of digits after the point so far, -1 before there is one.
func multiplesOf(modulus, places int) (*DFA, error) {
	state := func(rest, fraction int) int32 { return int32(1 + rest*(places+2) + fraction + 1) }
	n := 1 + modulus*(places+2)
	if n > MaxStates {
		return nil, ErrTooLarge
	}
	d := &DFA{Edges: make([][]Edge, n), Accept: make([]bool, n)}
	digits := func(rest, fraction int) (out []Edge) {
		for c := range 10 {
			out = append(out, Edge{int32('0' + c), int32('0' + c), state((rest*10+c)%modulus, fraction)})
		}
		return out
	}
	d.Edges[0] = append([]Edge{{'-', '-', 0}}, digits(0, -1)...)
	for rest := range modulus {
		scaled := rest
		for fraction := places; fraction >= -1; fraction-- {
			s := state(rest, fraction)
			switch {
			case fraction == -1:
				if places > 0 {
					d.Edges[s] = []Edge{{'.', '.', state(rest, 0)}}
				}
				d.Edges[s] = append(d.Edges[s], digits(rest, -1)...)
			case fraction < places:
				d.Edges[s] = digits(rest, fraction+1)
			}
			d.Accept[s] = scaled == 0 && fraction != 0
			if fraction > 0 {
				scaled = scaled * 10 % modulus
			}
		}
	}
	return Intersect(d.trimmed(), Numbers)
}

// Usual returns the numbers of an automaton that have a usual number of digits, or all where there are none.
func Usual(d *DFA) (*DFA, error) {
	usual, err := Intersect(d, usualNumbers)
	if err != nil || usual.Empty() {
		return d, err
	}
	return usual, nil
}

// Spelled returns the texts in which the numbers of an automaton are written: of usual length where there are such, and
// with zeros at the end of a fraction where there are fractions.
func Spelled(d *DFA) (*DFA, error) {
	d, err := Usual(d)
	if err != nil {
		return nil, err
	}
	fraction := make([]bool, len(d.Edges)) // whether a state stands after the point
	hasFraction := false
	queue := []int32{}
	reach := func(to int32) {
		if !fraction[to] {
			fraction[to], hasFraction = true, true
			queue = append(queue, to)
		}
	}
	for _, edges := range d.Edges {
		for _, e := range edges {
			if e.Lo == '.' {
				reach(e.To)
			}
		}
	}
	for len(queue) > 0 {
		s := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, e := range d.Edges[s] {
			reach(e.To)
		}
	}
	if !hasFraction {
		return d, nil
	}
	var n NFA
	from, to, point, zeros := n.State(), n.State(), n.State(), n.State()
	n.Add(point, '0', '0', zeros)
	n.Add(zeros, '0', '0', zeros)
	n.Skip(zeros, to)
	base := int32(n.Size())
	n.Embed(d, from, to)
	for s, accept := range d.Accept {
		switch {
		case accept && fraction[s]:
			n.Skip(base+int32(s), zeros)
		case accept:
			n.Add(base+int32(s), '.', '.', point)
		}
	}
	out, err := n.Determinize(from, to)
	if err != nil {
		return nil, err
	}
	return Intersect(out, spelledNumbers)
}

var (
	usualNumbers   = mustRegexp(`-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,15})?`)
	spelledNumbers = mustRegexp(`-?[0-9]{1,30}(\.[0-9]{1,20})?`)

	// AnyNumber and AnyWhole are the texts of numbers that nothing bounds.
	AnyNumber = mustRegexp(`-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,15})?([eE][-+]?[0-9]{1,2})?`)
	AnyWhole  = mustRegexp(`0|-?[1-9][0-9]{0,15}`)
)
