package calls

import (
	"encoding/json"
	"errors"
	"strings"
)

// Detect finds a format by what a chat template writes: conversations with a call and without one are rendered, and what
// the call added to the text is the format.

// The texts that a probe's messages hold, each of which a template writes unchanged or not at all.
const (
	ProbeTool   = "lookup_probe"     // the name of the first tool
	ProbeOther  = "compute_probe"    // of the second
	ProbeID     = "call00001"        // identifiers of the calls
	ProbeNextID = "call00002"        //
	ProbeKey    = "key_probe"        // the arguments of the first call: texts under two keys and a number under the third
	ProbeValue  = "value probe"      //
	ProbeKey2   = "second_probe"     //
	ProbeValue2 = "another probe"    //
	ProbeKey3   = "third_probe"      //
	ProbeNumber = "4711"             //
	ProbeKey4   = "argument_probe"   // the only argument of the second call
	ProbeValue4 = "fourth probe"     //
	ProbeSaid   = "content probe"    // what the assistant says
	ProbeThink  = "reasoning probe"  // what it thinks
	ProbeResult = "tool result said" // what the tool answers
	ProbeKey5   = "truth_probe"      // of a third conversation's only call, in this order: true,
	ProbeKey6   = "markup_probe"     // a text with characters that markup gives a meaning to
	ProbeMarkup = "<b> &\n'probe'"
)

// Probes are a template's renderings, each "" where it refuses the conversation. All but Prompt end with a turn of the
// assistant, and all have the two tools.
type Probes struct {
	Prompt  string // the user's turn and the opening of the assistant's
	Said    string // the assistant says ProbeSaid
	Thought string // the same with ProbeThink as its reasoning
	One     string // it calls the first tool
	Two     string // it calls both tools
	Kinds   string // it calls the first tool with the arguments ProbeKey5 and ProbeKey6
	Source  string // of the template, which tells of reasoning that is not written again
}

// pythonTag is what Llama's models may write before a call.
const pythonTag = "<|python_tag|>"

// maxText bounds each text of a format, in bytes: longer ones are no marks, but instructions.
const maxText = 160

// errNoCalls is why a template has no format of calls.
var errNoCalls = errors.New("the template does not write calls of tools in a way that could be read back")

// Detect returns the format of a template. ends are the texts of the tokens that end an answer. Where it returns an error
// the format has no calls; its reasoning is detected all the same.
func Detect(p Probes, ends []string) (Format, error) {
	f := Format{Think: thinking(p)}
	if channels(p) {
		return harmony(), nil
	}
	one, ok := answerOf(p.One, p.Prompt, ends)
	if !ok || !strings.Contains(one, ProbeTool) {
		return f, errNoCalls
	}
	if i := strings.Index(one, strings.TrimSpace(f.Think.Close)); f.Think.Close != "" && i >= 0 && i < strings.Index(one, ProbeTool) {
		one = strings.TrimLeft(one[i+len(strings.TrimSpace(f.Think.Close)):], whiteSpace) // an empty block of reasoning
	}
	two, _ := answerOf(p.Two, p.Prompt, ends)
	if said, _ := answerOf(p.Said, p.Prompt, ends); strings.HasPrefix(one, ProbeTool) {
		if open, _, found := strings.Cut(said, ProbeSaid); found && nameLength(open) > 0 {
			f.TextOpen = open
		}
	}
	kinds, _ := answerOf(p.Kinds, p.Prompt, ends)
	if !f.detectJSON(one, two) && !f.detectParameters(one, two, kinds) || !f.usable() {
		return Format{Think: f.Think}, errNoCalls
	}
	f.Calls = true
	if f.mark(); strings.ContainsRune(f.Marker, idHole) || f.Marker == "" && strings.ContainsRune(f.opening(), idHole) {
		return Format{Think: f.Think}, errNoCalls
	}
	if f.TextOpen != "" {
		f.Marker = f.Separator
	}
	if strings.Contains(p.Source, pythonTag) && f.Marker == "" {
		f.Tag = pythonTag
	}
	f.Family = familyOf(&f)
	return f, nil
}

// answerOf is what the assistant writes: the text after the prompt, up to what ends the turn.
func answerOf(text, prompt string, ends []string) (string, bool) {
	n := 0
	for n < len(text) && n < len(prompt) && text[n] == prompt[n] {
		n++
	}
	answer := text[n:]
	if n < len(prompt) {
		// The prompt's last words, such as an open block of reasoning, are not those of the turn in a history: go back to
		// where a word begins that both have.
		if i := strings.LastIndexAny(text[:n], ">]\n"); i >= 0 {
			answer = text[i+1:]
		}
	}
	last := strings.LastIndex(answer, ProbeValue4)
	last = max(last, strings.LastIndex(answer, ProbeNumber), strings.LastIndex(answer, ProbeTool), 0)
	cut := len(answer)
	for _, end := range ends {
		if i := strings.Index(answer[last:], end); end != "" && i >= 0 {
			cut = min(cut, last+i)
		}
	}
	return strings.Trim(answer[:cut], whiteSpace), answer != ""
}

// knownThinking are the marks of reasoning that templates have which do not write it again.
var knownThinking = []Pair{
	{"<think>", "</think>"}, {"[THINK]", "[/THINK]"}, {"<thinking>", "</thinking>"}, {"<seed:think>", "</seed:think>"},
	{"<reasoning>", "</reasoning>"}, {"<|channel>thought", "<channel|>"}, {"<mm:think>", "</mm:think>"},
}

// thinking finds the marks of reasoning.
func thinking(p Probes) Pair {
	at, said := strings.Index(p.Thought, ProbeThink), strings.LastIndex(p.Thought, ProbeSaid)
	if at >= 0 && said > at {
		before, after := p.Thought[:at], p.Thought[at+len(ProbeThink):said]
		open, end := lastTag(before), strings.TrimSpace(after)
		prompt := strings.TrimSpace(p.Prompt)
		// A tag that the prompt has too, but at its end, is no mark of reasoning.
		if open != "" && end != "" && !strings.Contains(strings.TrimSuffix(prompt, open), open) {
			return Pair{open, end}
		}
	}
	for _, known := range knownThinking {
		if strings.Contains(p.Source, known.Close) || strings.HasSuffix(strings.TrimSpace(p.Prompt), known.Open) {
			return known
		}
	}
	return Pair{}
}

// lastTag is the tag, in angle or square brackets, that a text ends with.
func lastTag(s string) string {
	s = strings.TrimRight(s, whiteSpace)
	for _, brackets := range []string{"<>", "[]"} {
		if strings.HasSuffix(s, brackets[1:]) {
			return s[max(strings.LastIndex(s, brackets[:1]), 0):]
		}
	}
	return ""
}

// detectJSON finds a format whose arguments are a JSON object.
func (f *Format) detectJSON(one, two string) bool {
	at := strings.Index(one, ProbeTool)
	from, to := jsonObject(one, at+len(ProbeTool), ProbeKey)
	if from < 0 {
		return false
	}
	begin, finish := one[:at], one[to:]
	f.Middle = identified(one[at+len(ProbeTool) : from])
	second := strings.Index(two, ProbeOther)
	if second < 0 {
		f.Begin, f.Finish = identified(begin), identified(finish)
		return true
	}
	_, end := jsonObject(two, strings.Index(two, ProbeTool)+len(ProbeTool), ProbeKey)
	next, _ := jsonObject(two, second+len(ProbeOther), ProbeKey4)
	if end < 0 || end > second || next < 0 {
		return false
	}
	if !f.number(identified(two[second+len(ProbeOther) : next])) {
		return false
	}
	f.divide(identified(begin), identified(finish), identified(two[end:second]))
	return true
}

// number compares what follows the names of the first and of the second call: the same, but for the number of the call.
func (f *Format) number(next string) bool {
	if f.Middle == next {
		return true
	}
	i := 0
	for i < len(f.Middle) && i < len(next) && f.Middle[i] == next[i] {
		i++
	}
	if i == len(f.Middle) || i == len(next) || f.Middle[i] != '0' || next[i] != '1' || f.Middle[i+1:] != next[i+1:] {
		return false
	}
	f.Middle = f.Middle[:i] + string(numberHole) + f.Middle[i+1:]
	return true
}

// divide tells what stands around each call from what stands around all of them. begin is what stands before the first
// call, finish after the last, between between two.
func (f *Format) divide(begin, finish, between string) {
	f.Parallel = true
	f.Finish = commonPrefix(finish, between)
	f.Section.Close, between = finish[len(f.Finish):], between[len(f.Finish):]
	n := 0
	for n < len(begin) && n < len(between) && begin[len(begin)-1-n] == between[len(between)-1-n] {
		n++
	}
	if i, k := len(begin)-1-n, len(between)-1-n; i >= 0 && k >= 0 && begin[i] == '0' && between[k] == '1' { // the number of the call
		begin = begin[:i] + string(numberHole) + begin[i+1:]
		between = between[:k] + string(numberHole) + between[k+1:]
	}
	f.Begin = commonSuffix(begin, between)
	f.Section.Open, f.Separator = begin[:len(begin)-len(f.Begin)], between[:len(between)-len(f.Begin)]
}

// commonPrefix is what two texts begin with, without a tag of which they share only a piece.
func commonPrefix(a, b string) string {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	s := a[:n]
	if i := strings.LastIndexByte(s, '<'); i > strings.LastIndexByte(s, '>') && (n < len(a) || n < len(b)) {
		s = s[:i]
	}
	return s
}

// commonSuffix is what two texts end with, without a tag of which they share only a piece.
func commonSuffix(a, b string) string {
	n := 0
	for n < len(a) && n < len(b) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	s := a[len(a)-n:]
	open, end := strings.IndexByte(s, '<'), strings.IndexByte(s, '>')
	if end >= 0 && (open < 0 || end < open) && (n < len(a) || n < len(b)) {
		s = s[end+1:]
	}
	return s
}

// identified puts the hole for identifiers in the place of a probe's.
func identified(s string) string {
	return strings.NewReplacer(ProbeID, string(idHole), ProbeNextID, string(idHole)).Replace(s)
}

// jsonObject finds the object that has a key, after a place.
func jsonObject(s string, after int, key string) (from, to int) {
	for i := max(after, 0); i < len(s); i++ {
		if s[i] != '{' {
			continue
		}
		d := json.NewDecoder(strings.NewReader(s[i:]))
		var object map[string]json.RawMessage
		if d.Decode(&object) == nil && object[key] != nil {
			return i, i + int(d.InputOffset())
		}
	}
	return -1, -1
}

// families are the formats that are known by name, by what their calls begin with.
var families = []struct {
	name  string
	match func(f *Format) bool
}{
	{"qwen-coder", func(f *Format) bool {
		return f.Parameters != nil && strings.HasPrefix(f.Begin, "<tool_call>\n<function=")
	}},
	{"gemma", func(f *Format) bool {
		return f.Parameters != nil && f.Parameters.literals() && strings.HasSuffix(f.Begin, "call:")
	}},
	{"lfm", func(f *Format) bool {
		return f.Parameters != nil && strings.HasPrefix(f.opening(), "<|tool_call_start|>")
	}},
	{"deepseek-xml", func(f *Format) bool { return f.Parameters != nil && strings.Contains(f.opening(), "｜DSML｜") }},
	{"minicpm", func(f *Format) bool {
		return f.Parameters != nil && strings.HasPrefix(f.Begin, `<function name="`) && f.Parameters.Open == `<param name="`
	}},
	{"minimax", func(f *Format) bool { return strings.HasPrefix(f.opening(), "<minimax:tool_call>") }},
	{"glm", func(f *Format) bool { return f.Parameters != nil && strings.Contains(f.Parameters.Open, "<arg_key>") }},
	{"hermes", func(f *Format) bool {
		return f.Parameters == nil && strings.HasPrefix(f.Begin, "<tool_call>\n{\"name\"")
	}},
	{"granite", func(f *Format) bool { return strings.HasPrefix(f.opening(), "<|tool_call|>") }},
	{"mistral", func(f *Format) bool { return strings.HasPrefix(f.opening(), "[TOOL_CALLS]") }},
	{"deepseek", func(f *Format) bool { return strings.Contains(f.opening(), "tool▁call") }},
	{"functionary", func(f *Format) bool { return strings.HasPrefix(f.Begin, "<function=") || f.TextOpen == "all\n" }},
	{"command", func(f *Format) bool { return strings.HasPrefix(f.opening(), "<|START_ACTION|>") }},
	{"kimi", func(f *Format) bool { return strings.HasPrefix(f.opening(), "<|tool_calls_section_begin|>") }},
	{"llama-3", func(f *Format) bool { return f.Marker == "" && strings.Contains(f.Middle, `"parameters": `) }},
	{"json", func(f *Format) bool {
		return f.Parameters == nil && f.Marker == "" && strings.HasPrefix(strings.TrimLeft(f.opening(), "["), "{")
	}},
}

// familyOf is the name of a format, "" where it has none.
func familyOf(f *Format) string {
	for _, family := range families {
		if family.match(f) {
			return family.name
		}
	}
	return ""
}
