package grammar

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// This file reads the text of a grammar, by recursive descent that is no deeper than maxNesting.

// Parse reads a grammar in GBNF, the whole syntax of llama.cpp. The error is an *Error. Stricter than llama.cpp, it
// refuses what can only be a mistake: a rule that is defined twice, an empty class, a range or a repetition that runs
// backwards, a character that no answer can have. vocabulary may be nil: the grammar may then name no tokens.
func Parse(text string, vocabulary Vocabulary) (*Grammar, error) {
	if len(text) > MaxBytes {
		return nil, &Error{Message: fmt.Sprintf("it has %d bytes, it is longer than %d KiB", len(text), MaxBytes>>10)}
	}
	p := &parser{text: text, here: place{1, 1}, vocabulary: vocabulary, rules: make(map[string]int), tokens: make(map[string]int32)}
	if err := p.grammar(); err != nil {
		return nil, err
	}
	return p.link()
}

type parser struct {
	text       string // what has not been read
	here       place  // of its first character
	depth      int    // of parentheses
	vocabulary Vocabulary
	tokens     map[string]int32 // those that were looked up
	rules      map[string]int
	out        Grammar
}

// link replaces the names of rules by their numbers.
func (p *parser) link() (*Grammar, error) {
	root, ok := p.rules["root"]
	if !ok {
		return nil, place{1, 1}.fault("there is no rule named root")
	}
	p.out.root = root
	var link func(alternatives) error
	link = func(all alternatives) error {
		for _, s := range all {
			for i := range s {
				part := &s[i]
				if part.kind == reference {
					if part.target, ok = p.rules[part.name]; !ok {
						return part.at.fault("the rule %s is not defined", shown(part.name))
					}
				}
				if err := link(part.inner); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for _, r := range p.out.rules {
		if err := link(r.body); err != nil {
			return nil, err
		}
	}
	return &p.out, nil
}

// ---- rules -----------------------------------------------------------------------------------------

func (p *parser) grammar() error {
	if i := strings.IndexByte(p.text, 0); i >= 0 {
		p.skip(utf8.RuneCountInString(p.text[:i]))
		return p.here.fault("there is a zero byte")
	}
	if !utf8.ValidString(p.text) {
		for r, size := utf8.DecodeRuneInString(p.text); r != utf8.RuneError || size != 1; r, size = utf8.DecodeRuneInString(p.text) {
			p.next()
		}
		return p.here.fault("there is a byte that is not UTF-8")
	}
	for p.space(true); p.text != ""; p.space(true) {
		if err := p.rule(); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) rule() error {
	at, first := p.here, p.peek()
	name := p.word()
	switch {
	case name == "" && first == '|':
		return at.fault("a rule cannot begin with |: put it at the end of the line before, or the alternatives in parentheses")
	case name == "":
		return at.fault("expecting the name of a rule, found %s; names have letters, digits and -", p.found())
	}
	if before, twice := p.rules[name]; twice {
		return at.fault("the rule %s is defined for the second time; the first is on line %d", shown(name), p.out.rules[before].at.line)
	}
	p.space(false)
	if !p.take("::=") {
		return p.here.fault("expecting ::= after the name %s, found %s", shown(name), p.found())
	}
	p.space(true)
	p.rules[name] = len(p.out.rules)
	p.out.rules = append(p.out.rules, rule{name: name, at: at})
	body, err := p.alternatives(false)
	if err != nil {
		return err
	}
	p.out.rules[len(p.out.rules)-1].body = body
	if r := p.peek(); r >= 0 && r != '\n' && r != '\r' {
		return p.here.fault("expecting a newline after the rule %s, found %s", shown(name), p.found())
	}
	return nil
}

// alternatives are sequences with | between them. Newlines mean nothing between parentheses.
func (p *parser) alternatives(nested bool) (alternatives, error) {
	var all alternatives
	for {
		s, err := p.sequence(nested)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
		if !p.take("|") {
			return all, nil
		}
		p.space(true)
	}
}

func (p *parser) sequence(nested bool) (sequence, error) {
	s := sequence{}
	repeatable := false // whether what was read last can be repeated: there is something, and it is not empty
	for {
		at := p.here
		if count, is, err := p.repeat(nested); is || err != nil {
			if err == nil && !repeatable {
				err = at.fault("there is nothing before it that could be repeated")
			}
			if err != nil {
				return nil, err
			}
			last := &s[len(s)-1]
			last.repeats = append(last.repeats, count)
			repeatable = count.most != 0
			p.space(nested)
			continue
		}
		part, is, err := p.item()
		if err != nil {
			return nil, err
		}
		if !is {
			return s, nil
		}
		part.at = at
		if repeatable = part.kind != literal || len(part.text) > 0; repeatable {
			s = append(s, part)
		}
		p.space(nested)
	}
}

// item reads one part of a sequence; is is false where none begins here.
func (p *parser) item() (part item, is bool, err error) {
	is = true
	switch r := p.peek(); {
	case r == '"':
		part, err = p.literal()
	case r == '[':
		part, err = p.class()
	case r == '.':
		p.next()
		part.kind = anything
	case r == '<', r == '!':
		part, err = p.token()
	case r == '(':
		part, err = p.group()
	case isWord(r):
		part.kind, part.name = reference, p.word()
	default:
		is = false
	}
	return part, is, err
}

func (p *parser) group() (item, error) {
	at := p.here
	if p.depth++; p.depth > maxNesting {
		return item{}, at.fault("parentheses are nested deeper than %d", maxNesting)
	}
	p.next()
	p.space(true)
	inner, err := p.alternatives(true)
	if err != nil {
		return item{}, err
	}
	if !p.take(")") {
		return item{}, p.here.fault("expecting ) for the ( on line %d, column %d, found %s", at.line, at.column, p.found())
	}
	p.depth--
	return item{kind: group, inner: inner}, nil
}

// repeat reads *, +, ?, {m}, {m,} or {m,n}; is is false where none of them comes next.
func (p *parser) repeat(nested bool) (count repeat, is bool, err error) {
	at := p.here
	switch {
	case p.take("*"):
		return repeat{at, 0, -1}, true, nil
	case p.take("+"):
		return repeat{at, 1, -1}, true, nil
	case p.take("?"):
		return repeat{at, 0, 1}, true, nil
	case !p.take("{"):
		return repeat{}, false, nil
	}
	p.space(nested)
	count.at = at
	if count.least, err = p.number(); err != nil {
		return count, true, err
	}
	count.most = count.least
	p.space(nested)
	if p.take(",") {
		p.space(nested)
		count.most = -1
		if p.peek() != '}' {
			if count.most, err = p.number(); err != nil {
				return count, true, err
			}
			p.space(nested)
		}
	}
	switch {
	case !p.take("}"):
		err = p.here.fault("expecting } for the { on line %d, column %d, found %s", at.line, at.column, p.found())
	case count.most >= 0 && count.most < count.least:
		err = at.fault("{%d,%d} runs backwards: the second number is the larger one", count.least, count.most)
	}
	return count, true, err
}

// number reads a number of repetitions.
func (p *parser) number() (int, error) {
	at, n, digits := p.here, 0, 0
	for ; p.peek() >= '0' && p.peek() <= '9'; digits++ {
		n = min(n*10+int(p.next()-'0'), maxRepeat+1)
	}
	switch {
	case digits == 0:
		return 0, at.fault("expecting a number, found %s", p.found())
	case n > maxRepeat:
		return 0, at.fault("it is repeated more than %d times", maxRepeat)
	}
	return n, nil
}
