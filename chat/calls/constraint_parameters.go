package calls

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/grammar"
)

// parameters are arguments that are written one by one.
func (f *Format) parameters(t Tool, strict bool) (grammar.Part, error) {
	if err := describesObject(t); err != nil && len(t.Parameters) > 0 {
		return grammar.Part{}, err
	}
	p := f.Parameters
	all := parametersOf(t.Parameters)
	if all.free {
		if strict {
			return grammar.Part{}, &grammar.SchemaError{Problem: grammar.Unsupported, Param: t.Param,
				Reason: "has its parameters not in properties: this model writes them one by one, and they cannot be enforced"}
		}
		value := grammar.Sequence(literal(p.textMiddle()), p.anyText())
		if p.literals() {
			value = grammar.Sequence(literal(p.Middle), grammar.Choice(p.anyText(), grammar.Value()))
		}
		one := grammar.Sequence(literal(p.Open), grammar.Pattern(`[a-zA-Z0-9_-]{1,64}`), value)
		further := grammar.Repeat(grammar.Sequence(literal(p.Separator), one), 0, -1)
		return grammar.Repeat(grammar.Sequence(one, further), 0, 1), nil
	}
	if p.Sorted {
		slices.SortStableFunc(all.list, func(a, b parameter) int { return strings.Compare(strings.ToLower(a.name), strings.ToLower(b.name)) })
	}
	list := make([]member, len(all.list))
	values := p.newLiterals(t)
	for i, one := range all.list {
		value, err := p.value(values, one, strict)
		if err != nil {
			return grammar.Part{}, err
		}
		list[i] = member{grammar.Sequence(literal(p.Open), grammar.Literal(one.name), value), one.required}
	}
	return members(list, literal(p.Separator)), nil
}

// member is one of a list of parts, which are in their order.
type member struct {
	part     grammar.Part
	required bool
}

// members are some of a list, the required ones all, with a separator between two. Parts are shared, so that their number
// is that of the list.
func members(list []member, separator grammar.Part) grammar.Part {
	var further grammar.Part // what may follow a member
	var first []grammar.Part // the lists that begin with one of the members
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].required {
			first = first[:0] // they would leave it out
		}
		first = append(first, grammar.Sequence(list[i].part, further))
		next, least := grammar.Sequence(separator, list[i].part), 0
		if list[i].required {
			least = 1
		}
		further = grammar.Sequence(grammar.Repeat(next, least, 1), further)
	}
	if !slices.ContainsFunc(list, func(m member) bool { return m.required }) {
		first = append(first, grammar.Part{})
	}
	return grammar.Choice(first...)
}

// value is what stands between a parameter's name and its end, its value, and what closes it.
func (p *Parameters) value(values *literals, one parameter, strict bool) (grammar.Part, error) {
	param := values.tool.Param + ".properties." + one.name
	switch {
	case p.literals():
		value, err := values.parameter(param, one, strict)
		return grammar.Sequence(literal(p.Middle), value), err
	case one.text && one.values != nil:
		choices := make([]grammar.Part, len(one.values))
		for i, v := range one.values {
			choices[i] = grammar.Literal(v)
		}
		return grammar.Sequence(literal(p.textMiddle()), grammar.Choice(choices...), literal(p.Close)), nil
	case one.text:
		return grammar.Sequence(literal(p.textMiddle()), p.anyText()), nil
	}
	value, err := grammar.Schema(param, one.schema)
	if !strict && unsupported(err) {
		value, err = grammar.Value(), nil
	}
	return grammar.Sequence(literal(p.Middle), value, literal(p.Close)), err
}

// anyText is a text and what closes it. White space before that is a part of the text here, and is left out where the
// answer is read.
func (p *Parameters) anyText() grammar.Part {
	switch {
	case p.literals() && escaped(p.Quotes.Close):
		return anyString
	case p.literals():
		return grammar.Sequence(grammar.Literal(p.Quotes.Open), before(p.Quotes.Close))
	case p.Wrap.Open != "":
		wrapped := grammar.Sequence(grammar.Literal(p.Wrap.Open), before(p.Wrap.Close+p.Close))
		return grammar.Choice(wrapped, grammar.Sequence(withoutMarkup, literal(p.Close)))
	}
	return before(p.Close)
}

// before is any text up to an end, and the end.
func before(end string) grammar.Part {
	text := strings.TrimLeft(end, whiteSpace)
	marker := strings.TrimRight(text, whiteSpace)
	return grammar.TextBefore(grammar.Trigger{Marker: marker, Then: literal(text[len(marker):])})
}

// withoutMarkup is a text that nothing stands around where others are wrapped.
var withoutMarkup = grammar.Pattern(`[^<&\n]*`)

// anyString is a JSON string.
var anyString = goodSchema(`{"type":"string"}`)

// goodSchema is a schema that is known to be good.
func goodSchema(schema string) grammar.Part {
	part, err := grammar.Schema("", json.RawMessage(schema))
	if err != nil {
		panic("calls: " + err.Error())
	}
	return part
}
