package calls

import (
	"slices"
	"strings"
)

// detectParameters finds a format that writes arguments one by one.
func (f *Format) detectParameters(one, two, kinds string) bool {
	places := make([]int, 0, 7)
	end := 0
	for _, mark := range []string{ProbeTool, ProbeKey, ProbeValue, ProbeKey2, ProbeValue2, ProbeKey3, ProbeNumber} {
		i := strings.Index(one[end:], mark)
		if i < 0 {
			return false
		}
		places = append(places, end+i)
		end += i + len(mark)
	}
	gap := func(i int, mark string) string { return one[places[i]+len(mark) : places[i+1]] }
	head, text, between, tail := gap(0, ProbeTool), gap(1, ProbeKey), gap(2, ProbeValue), one[end:]
	if gap(3, ProbeKey2) != text || gap(4, ProbeValue2) != between {
		return false // two texts are not written alike
	}
	p := &Parameters{}
	if between, tail = p.divideValue(text, gap(5, ProbeKey3), between, tail); p.Middle == "" {
		return false
	}
	// What follows a value is what follows the last one too; what precedes a name is what precedes the first one too.
	p.Close = commonPrefix(between, tail)
	between, tail = between[len(p.Close):], tail[len(p.Close):]
	p.Open = commonSuffix(head, between)
	p.Separator = between[:len(between)-len(p.Open)]
	f.Parameters, f.Middle = p, head[:len(head)-len(p.Open)]
	p.detectKinds(kinds)
	begin := one[:places[0]]
	first, second := strings.Index(two, ProbeNumber), strings.Index(two, ProbeOther)
	if second < 0 || first < 0 || first > second {
		f.Begin, f.Finish = begin, tail
		return true
	}
	after := two[first+len(ProbeNumber) : second]
	if !strings.HasPrefix(after, p.Close) {
		return false
	}
	f.divide(begin, tail, after[len(p.Close):])
	return true
}

// divideValue compares what stands between a name and a value that is a text with what stands before a number: the same,
// the same and the quotes of a text, or something that says which of the two the value is. between is what follows a text
// and tail what follows a number; both are returned without quotes.
func (p *Parameters) divideValue(text, number, between, tail string) (betweenValues, afterLast string) {
	switch quote, quoted := strings.CutPrefix(text, number); {
	case text == number:
		p.Middle = text
	case quoted && strings.HasPrefix(between, quote):
		p.Middle, p.Quotes = number, Pair{quote, quote}
		between = between[len(quote):]
	case !quoted:
		p.Middle, p.TextMiddle = number, text
	}
	return between, tail
}

// detectKinds finds how the values of a call of kinds are written.
func (p *Parameters) detectKinds(kinds string) {
	truth, markup := strings.Index(kinds, ProbeKey5), strings.Index(kinds, ProbeKey6)
	if truth < 0 || markup < 0 {
		return
	}
	p.Sorted = markup < truth
	p.Python = p.literals() && strings.HasPrefix(kinds[truth+len(ProbeKey5):], p.Middle+"True")
	before, after, found := strings.Cut(kinds[markup+len(ProbeKey6):], ProbeMarkup)
	if before, is := strings.CutPrefix(before, p.textMiddle()); is && found && before != "" && !p.literals() {
		if end, _, closed := strings.Cut(after, strings.TrimSpace(p.Close)); closed && end != "" {
			p.Wrap = Pair{before, end}
		}
	}
}

// usable reports whether answers in the format can be divided again.
func (f *Format) usable() bool {
	p := f.Parameters
	texts := []string{f.Section.Open, f.Section.Close, f.Begin, f.Middle, f.Finish, f.Separator}
	if p != nil {
		texts = append(texts, p.Open, p.Middle, p.Close, p.TextMiddle, p.Quotes.Open, p.Wrap.Open, p.Wrap.Close)
	}
	switch {
	case nameLength(f.Middle) > 0, f.opening() == "" && (f.TextOpen == "" || f.Separator == ""):
		return false
	case f.Middle == "" && (p == nil || p.Open == "" || nameLength(p.Open) > 0 || f.Finish == "" || nameLength(f.Finish) > 0):
		return false // nothing ends the name
	case p != nil && !p.usable(f.Finish):
		return false
	}
	return !slices.ContainsFunc(texts, func(s string) bool {
		return strings.Contains(s, "probe") || strings.Contains(s, ProbeNumber) || len(s) > maxText
	})
}

// usable reports whether parameters can be divided again. finish is what follows the last one.
func (p *Parameters) usable(finish string) bool {
	separator, finish := strings.TrimSpace(p.Separator), strings.TrimSpace(finish)
	if p.literals() { // one byte has to tell where a literal ends
		return p.Close == "" && p.Open == "" && separator == "," && finish != "" && strings.IndexByte(")}]", finish[0]) >= 0 &&
			strings.IndexByte(":=", p.Middle[0]) >= 0
	}
	return strings.TrimSpace(p.Middle) != "" && strings.TrimSpace(p.Close) != "" && separator == "" && finish != "" &&
		(p.TextMiddle == "" || strings.TrimSpace(p.TextMiddle) != "")
}
