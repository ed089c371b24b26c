package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// hostile are templates that would, without bounds, end the process or go on for as long as anybody waits, and what
// the error says. They begin with the word "boom" alone, so that they pass the probe.
var hostile = []struct{ name, source, want string }{
	{"a macro that calls itself", `{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}`, "more than 200 deep"},
	{"two macros that call each other", `{% macro f(x) %}{{ g(x) }}{% endmacro %}{% macro g(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}`, "more than 200 deep"},
	{"a macro through its caller", `{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}`, "more than 200 deep"},
	{"a recursive loop", `{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}`, "more than 200 deep"},
	{"a tree of macros", `{% macro f(n) %}{% if n > 0 %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}`, "steps"},
	{"loops in loops", `{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}`, "steps"},
	{"loops in loops that print", `{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}`, "steps"},
	{"much text in a loop", `{% for a in range(100000) %}` + strings.Repeat("0123456789", 2000) + `{% endfor %}`, "bytes of text"},
	{"a text times a number", `{{ 'x' * 100000000000 }}`, "bytes of text"},
	{"a number times a text", `{{ 1000000000 * 'x' }}`, "bytes of text"},
	{"a text that doubles", `{% set ns = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s|length }}`, "bytes of text"},
	{"a text that doubles by plus", `{% set ns = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s|length }}`, "bytes of text"},
	{"a text that doubles in a block", `{% macro f(n) %}{% if n %}{% set x %}{{ f(n-1) }}{% endset %}{{ x }}{{ x }}{% else %}0123456789{% endif %}{% endmacro %}{{ f(60) }}`, "bytes of text"},
	{"replace", `{% set a = 'a' * 1000000 %}{{ a.replace('a', a)|length }}`, "bytes of text"},
	{"replace of nothing", `{% set a = 'a' * 1000000 %}{{ a.replace('', a)|length }}`, "bytes of text"},
	{"the filter replace", `{% set a = 'a' * 1000000 %}{{ a|replace('a', a)|length }}`, "bytes of text"},
	{"join", `{{ range(100000)|join('x' * 1000000)|length }}`, "bytes of text"},
	{"the method join", `{{ ('x' * 1000000).join(range(100000)|map('string'))|length }}`, "bytes of text"},
	{"a wide indent", `{{ ('\n' * 1000000)|indent(99999)|length }}`, "bytes of text"},
	{"an indent that is a text", `{{ ('\n' * 1000000)|indent('x' * 1000000)|length }}`, "bytes of text"},
	{"an indent of 2^40", `{{ 'a\nb'|indent(1099511627776) }}`, "at most 100000"},
	{"an indent of JSON", `{{ [[[1]]]|tojson(indent=1000000000) }}`, "at most 64"},
	{"center", `{{ 'a'|center(10000000000) }}`, "at most 100000"},
	{"ljust", `{{ 'a'.ljust(10000000000) }}`, "at most 100000"},
	{"zfill", `{{ 'a'.zfill(10000000000) }}`, "at most 100000"},
	{"expandtabs", `{{ ('\t' * 1000000).expandtabs(99999)|length }}`, "bytes of text"},
	{"batch", `{{ [1]|batch(10000000000, 'x')|list|length }}`, "at most 100000"},
	{"slice", `{{ [1]|slice(10000000000)|list|length }}`, "at most 100000"},
	{"wordwrap", `{{ ('x ' * 500000)|wordwrap(1, true, 'y' * 1000000)|length }}`, "bytes of text"},
	{"a format", `{{ '%999999999d'|format(1)|length }}`, "width"},
	{"a format's width as an argument", `{{ '%*d'|format(999999999, 1)|length }}`, "at most 100000"},
	{"the method format", `{{ '{:>9999999999}'.format('x')|length }}`, "width"},
	{"a range", `{{ range(100000000)|length }}`, "more than 100000"},
	{"a list that doubles", `{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}{% endfor %}{{ ns.l|length }}`, ""},
	{"a list of itself twice", `{% set a = [1] %}` + strings.Repeat(`{% set a = [a, a] %}`, 50) + `{{ a }}`, "200000 values"},
	{"a dict of itself twice", `{% set a = {'x': 1} %}` + strings.Repeat(`{% set a = {'x': a, 'y': a} %}`, 50) + `{{ a|tojson }}`, "200000 values"},
	{"dict() of itself twice", `{% set a = dict(x=1) %}` + strings.Repeat(`{% set a = dict(x=a, y=a) %}`, 50) + `{{ a|tojson }}`, "200000 values"},
	{"a list that nests", `{% set ns = namespace(l=[1]) %}{% for i in range(100000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}`, "128 deep"},
	{"a namespace in itself", `{% set ns = namespace(x=1) %}{% set ns.x = ns %}{{ ns }}`, "namespace"},
	{"a namespace in a list in itself", `{% set ns = namespace(x=1) %}{% set l = [ns] %}{% set ns.x = l %}{{ ns }}`, "namespace"},
	{"unique of many", `{{ range(100000)|unique|list|length }}`, "steps"},
	{"in, again and again", `{% for a in range(100000) %}{% if a in range(100000) %}x{% endif %}{% endfor %}`, "steps"},
	{"long texts compared without a loop", `{% set a = 'x' * 8000000 %}{% set b = 'x' * 8000000 %}{{ ` + strings.Repeat(`a == b and `, 450) + `a == b }}`, "steps"},
	{"long texts put in order", `{% set a = 'x' * 8000000 %}{% set b = 'x' * 8000000 %}{{ ` + strings.Repeat(`a < b or `, 450) + `a < b }}`, "steps"},
	{"long texts searched", `{% set a = 'x' * 8000000 %}{% set b = 'x' * 8000000 %}{{ ` + strings.Repeat(`a in b and `, 450) + `a in b }}`, "steps"},
	{"select with a long list", `{{ range(100000)|select('in', range(100000))|list|length }}`, "steps"},
	{"map of a map", `{% for a in range(1000) %}{{ range(100000)|map('string')|list|length }}{% endfor %}`, "steps"},
	{"an attribute that cannot be set", `{% set d = {} %}{% set d.x = 1 %}`, "only the attributes of a namespace"},
}

// renderHostile renders source for a conversation that says "boom"; for all others it writes "ok".
func renderHostile(t *testing.T, source string) (string, error) {
	t.Helper()
	definitions, use := "", source
	for strings.HasPrefix(use, "{% macro") {
		end := strings.Index(use, "{% endmacro %}") + len("{% endmacro %}")
		definitions, use = definitions+use[:end], use[end:]
	}
	template := NewTemplate(testModel(), definitions+"{% if messages[0].content == 'boom' %}"+use+"{% else %}ok{% endif %}", nil)
	if reason, yes := template.Fallback(); yes {
		return "", errors.New(reason)
	}
	return template.Render([]runtime.Message{{Role: "user", Content: "boom"}}, Options{})
}

func TestHostileTemplates(t *testing.T) {
	for _, c := range hostile {
		t.Run(c.name, func(t *testing.T) {
			var before, after goruntime.MemStats
			goruntime.ReadMemStats(&before)
			start := time.Now()
			text, err := renderHostile(t, c.source)
			if took := time.Since(start); took > maxTime+5*time.Second {
				t.Errorf("it took %v", took)
			}
			goruntime.ReadMemStats(&after)
			if made := after.TotalAlloc - before.TotalAlloc; made > 4<<30 {
				t.Errorf("it allocated %d MiB", made>>20)
			}
			slow := c.want == "steps" && err != nil && strings.Contains(err.Error(), "longer than")
			if err == nil || !strings.Contains(err.Error(), c.want) && !slow {
				t.Errorf("rendered %d bytes, error %v, want one about %q", len(text), err, c.want)
			}
		})
	}
}

// Sources that are too large, or so nested that parsing them would need too much of the stack, are refused.
func TestHostileSources(t *testing.T) {
	const n = 20000
	for _, c := range []struct{ name, source, want string }{
		{"brackets", "{{ " + strings.Repeat("(", n) + strings.Repeat(")", n) + " }}", "brackets are more than"},
		{"lists", "{{ " + strings.Repeat("[", n) + strings.Repeat("]", n) + " }}", "brackets are more than"},
		{"blocks", strings.Repeat("{% if true %}", n) + strings.Repeat("{% endif %}", n), "blocks are more than"},
		{"set blocks", strings.Repeat("{% set x %}", n) + strings.Repeat("{% endset %}", n), "blocks are more than"},
		{"not", "{{ " + strings.Repeat("not ", n) + "true }}", "operators"},
		{"or", "{{ zz()" + strings.Repeat(" or a", n) + " }}", "operators"},
		{"plus", "{{ 1" + strings.Repeat(" + 1", n) + " }}", "operators"},
		{"attributes", "{{ zz()" + strings.Repeat(".a", n) + " }}", "operators"},
		{"conditions", "{{ " + strings.Repeat("1 if a else ", n) + "1 }}", "operators"},
		{"size", strings.Repeat("x", maxSource+1), "bytes, at most"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := compileJinja(&runtime.Facts{}, c.source, time.Now); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one about %q", err, c.want)
			}
		})
	}
}

// A template of many small expressions, as deep as it may be, renders.
func TestLargeTemplateRenders(t *testing.T) {
	deep := strings.Repeat("{% if true %}", maxBlocks) + "x" + strings.Repeat("{% endif %}", maxBlocks)
	wide := "{{ " + strings.Repeat("(", maxBrackets-1) + "1" + strings.Repeat(" + 1", 900) + strings.Repeat(")", maxBrackets-1) + " }}"
	text, err := NewTemplate(testModel(), deep+wide, nil).Render(hello, Options{})
	if err != nil || text != "x901" {
		t.Errorf("got %q and %v", text, err)
	}
}

// What is large on the client's side alone is not refused: the budget grows with the conversation.
func TestLargeConversationsRender(t *testing.T) {
	source := "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
	template := NewTemplate(testModel(), source, nil)
	long := strings.Repeat("word ", 1<<20)
	if text, err := template.Render([]runtime.Message{{Role: "user", Content: long}}, Options{}); err != nil || len(text) < 5<<20 {
		t.Errorf("a long message: %d bytes, %v", len(text), err)
	}
	many := make([]runtime.Message, 20_000)
	for i := range many {
		many[i] = runtime.Message{Role: "user", Content: fmt.Sprint(i)}
	}
	if _, err := template.Render(many, Options{}); err != nil {
		t.Errorf("many messages: %v", err)
	}
}

// Values that are nested more deeply than any tool is are refused by the field's name.
func TestDeepValues(t *testing.T) {
	template := NewTemplate(testModel(), "{{ tools | tojson(indent=4) }}", nil)
	for _, n := range []int{maxNested - 1, maxNested + 1, 100_000} {
		tools := json.RawMessage(strings.Repeat(`[`, n) + "1" + strings.Repeat("]", n))
		_, err := template.Render(hello, Options{Tools: tools})
		if refused := errors.Is(err, runtime.ErrTemplate) && strings.Contains(err.Error(), "tools"); refused != (n > maxNested) {
			t.Errorf("%d deep: %v", n, err)
		}
	}
}

// Two renderings share nothing that one of them can change.
func TestRenderingsShareNoState(t *testing.T) {
	template := NewTemplate(testModel(), "{% set ns = namespace(n=0) %}{% set e = {} %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}{{ e|length }}", nil)
	for range 3 {
		if text, err := template.Render(hello, Options{}); err != nil || text != "10" {
			t.Errorf("got %q and %v", text, err)
		}
	}
}
