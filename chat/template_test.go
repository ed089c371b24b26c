package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// templateModel is a model of which templates see the facts and a tokenizer of single bytes, with the BOS
// token 1 and one token for each control text.
type templateModel struct {
	runtime.Model
	facts    runtime.Facts
	controls []string // texts of tokens 1000, 1001, ...
	known    func(messages []runtime.Message) (string, error)
}

func (m *templateModel) Facts() *runtime.Facts { return &m.facts }

func (m *templateModel) EndOfGeneration(t runtime.Token) bool { return t == m.facts.EOS }

func (m *templateModel) Tokenize(text string, bos, special bool) (out []runtime.Token, err error) {
	if bos && m.facts.AddBOS {
		out = append(out, m.facts.BOS)
	}
next:
	for text != "" {
		for i, c := range m.controls {
			if special && strings.HasPrefix(text, c) {
				out, text = append(out, runtime.Token(1000+i)), text[len(c):]
				continue next
			}
		}
		out, text = append(out, runtime.Token(text[0])), text[1:]
	}
	return out, nil
}

func (m *templateModel) KnownTemplate(messages []runtime.Message, _ bool) (string, error) {
	if m.known == nil {
		return "", runtime.ErrTemplate
	}
	return m.known(messages)
}

func testModel() *templateModel {
	return &templateModel{facts: runtime.Facts{BOS: 1, EOS: 2, BOSText: "<s>", EOSText: "</s>"}}
}

// rendered is one outcome in testdata/templates/expected.json: text, or the template's refusal, or a
// mistake in the template that Jinja2 reports in its own words.
type rendered struct {
	Source  string
	Text    *string
	Refused string
	Error   string
}

func (want rendered) check(t *testing.T, text string, err error) {
	t.Helper()
	switch {
	case want.Refused != "":
		if !errors.Is(err, runtime.ErrTemplate) || !strings.HasSuffix(err.Error(), want.Refused) {
			t.Errorf("error %v, want ErrTemplate with %q", err, want.Refused)
		}
	case want.Error != "":
		if !errors.Is(err, runtime.ErrTemplate) {
			t.Errorf("got %q and error %v, want ErrTemplate: Jinja2 says %q", text, err, want.Error)
		}
	case err != nil:
		t.Errorf("error %v, want %q", err, *want.Text)
	case text != *want.Text:
		t.Errorf("got\n%q\nwant\n%q", text, *want.Text)
	}
}

func readJSON(t *testing.T, name string, v any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "templates", name))
	if err == nil {
		err = json.Unmarshal(raw, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// messagesOf reads messages as the server does: role and content apart, the rest as it came.
func messagesOf(t *testing.T, raw []map[string]json.RawMessage) (out []runtime.Message) {
	t.Helper()
	for _, fields := range raw {
		m := runtime.Message{Extra: map[string]any{}}
		for name, v := range fields {
			var err error
			switch name {
			case "role":
				err = json.Unmarshal(v, &m.Role)
			case "content":
				err = json.Unmarshal(v, &m.Content)
			default:
				m.Extra[name] = v
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, m)
	}
	return out
}

func anyMap(raw map[string]json.RawMessage) map[string]any {
	out := map[string]any{}
	for k, v := range raw {
		out[k] = v
	}
	return out
}

// TestTemplates renders the templates in testdata, each with all conversations, and compares with Jinja2.
func TestTemplates(t *testing.T) {
	var cases []struct {
		Name     string
		Generate bool
		Kwargs   map[string]json.RawMessage
		Tools    json.RawMessage
		Messages []map[string]json.RawMessage
	}
	readJSON(t, "cases.json", &cases)
	var expected struct {
		Templates map[string]map[string]rendered
	}
	readJSON(t, "expected.json", &expected)
	paths, err := filepath.Glob("testdata/templates/*.jinja")
	if err != nil || len(paths) != len(expected.Templates) {
		t.Fatalf("%d templates and %d expectations: %v", len(paths), len(expected.Templates), err)
	}
	for _, path := range paths {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(path), ".jinja")
		t.Run(name, func(t *testing.T) {
			r, err := compileJinja(&testModel().facts, string(source), fixedClock)
			if err != nil {
				t.Fatal(err)
			}
			template := &Template{format: format{render: r}}
			for _, c := range cases {
				t.Run(c.Name, func(t *testing.T) {
					o := Options{AddGenerationPrompt: c.Generate, Kwargs: anyMap(c.Kwargs)}
					if c.Tools != nil {
						o.Tools = c.Tools
					}
					text, err := template.Render(messagesOf(t, c.Messages), o)
					expected.Templates[name][c.Name].check(t, text, err)
				})
			}
		})
	}
}

// TestTemplateFeatures renders short templates that exercise the language, and compares with Jinja2.
func TestTemplateFeatures(t *testing.T) {
	var expected struct {
		Features  []rendered
		Messages  []map[string]json.RawMessage
		Variables map[string]json.RawMessage
	}
	readJSON(t, "expected.json", &expected)
	if len(expected.Features) == 0 {
		t.Fatal("no features")
	}
	for i, want := range expected.Features {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			r, err := compileJinja(&testModel().facts, want.Source, fixedClock)
			if err != nil {
				t.Fatalf("%s\n%v", want.Source, err)
			}
			text, err := (&Template{format: format{render: r}}).Render(messagesOf(t, expected.Messages),
				Options{AddGenerationPrompt: true, Kwargs: anyMap(expected.Variables)})
			want.check(t, text, err)
			if t.Failed() {
				t.Log(want.Source)
			}
		})
	}
}

// fixedClock is the time in expected.py.
func fixedClock() time.Time { return time.Date(2026, 11, 3, 9, 5, 7, 0, time.UTC) }

func TestStrftime(t *testing.T) {
	got := strftime(fixedClock(), "%d %B %Y, %A %H:%M:%S %j %-d %e %y %I %p %F %% %Q")
	if want := "03 November 2026, Tuesday 09:05:07 307 3  3 26 09 AM 2026-11-03 % %Q"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

var hello = []runtime.Message{{Role: "user", Content: "hi"}}

func TestTemplateFallback(t *testing.T) {
	known := func(messages []runtime.Message) (string, error) { return "known:" + messages[0].Content, nil }
	for _, test := range []struct {
		name, source string
		controls     []string
		known        func([]runtime.Message) (string, error)
		want, reason string // reason "": no fallback
	}{
		{"a template that works", "{{ messages[0].content }}", nil, nil, "hi", ""},
		{"a template that refuses the probe", "{{ raise_exception('no') if messages|length > 1 }}ok", nil, nil, "ok", ""},
		{"not a template", "{% if %}", nil, known, "known:hi", "C library"},
		{"a template that fails", "{{ nothing.at.all() }}", nil, known, "known:hi", "C library"},
		{"nothing known", "{% endfor %}", nil, nil, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n", "ChatML"},
		{"no template, ChatML tokens", "", []string{"<|im_start|>", "<|im_end|>"}, nil, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n", "ChatML"},
		{"no template", "", nil, nil, "User: hi\nAssistant:", "no chat template"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := testModel()
			m.facts.ChatTemplate, m.controls, m.known = test.source, test.controls, test.known
			var logged []string
			template := NewTemplate(m, "", func(s string) { logged = append(logged, s) })
			text, err := template.Render(hello, Options{AddGenerationPrompt: true})
			if err != nil || text != test.want {
				t.Errorf("got %q and %v, want %q", text, err, test.want)
			}
			reason, yes := template.Fallback()
			if yes != (test.reason != "") || !strings.Contains(reason, test.reason) {
				t.Errorf("fallback %v for reason %q, want one about %q", yes, reason, test.reason)
			}
			if yes != (len(logged) == 1) || yes != (template.Source() == "") {
				t.Errorf("logged %q, source %q", logged, template.Source())
			}
		})
	}
}

func TestTemplateTokenizesWithOneBOS(t *testing.T) {
	m := testModel()
	m.controls = []string{"<s>"}
	for _, test := range []struct {
		source string
		addBOS bool
		want   []runtime.Token
	}{
		{"{{ bos_token }}{{ messages[0].content }}", true, []runtime.Token{1000, 'h', 'i'}},
		{"{{ messages[0].content }}", true, []runtime.Token{1, 'h', 'i'}},
		{"{{ messages[0].content }}", false, []runtime.Token{'h', 'i'}},
	} {
		m.facts.AddBOS = test.addBOS
		got, err := NewTemplate(m, test.source, nil).Tokenize(hello, Options{})
		if err != nil || fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("%s (AddBOS %v): got %v and %v, want %v", test.source, test.addBOS, got, err, test.want)
		}
	}
}

func TestTemplateVariables(t *testing.T) {
	template := NewTemplate(testModel(), "{{ bos_token }} {{ messages|length }} {{ depth and depth.a }}", nil)
	text, err := template.Render(hello, Options{Kwargs: map[string]any{
		"bos_token": "mine", "messages": "not these", "depth": map[string]any{"a": []any{1, 2.5, nil, struct{ B bool }{true}}},
	}})
	if want := "mine 1 [1, 2.5, None, {'B': True}]"; err != nil || text != want {
		t.Errorf("got %q and %v, want %q", text, err, want)
	}
	_, err = template.Render(hello, Options{Kwargs: map[string]any{"f": func() {}}})
	if !errors.Is(err, runtime.ErrTemplate) || !strings.Contains(err.Error(), "chat_template_kwargs.f") {
		t.Errorf("error %v does not name the variable", err)
	}
}

func TestTemplateCannotReadFiles(t *testing.T) {
	for _, source := range []string{"{% include '/etc/hostname' %}", "{% import '/etc/hostname' as x %}", "{% extends '/etc/hostname' %}"} {
		if _, err := compileJinja(&runtime.Facts{}, source, time.Now); err == nil {
			t.Errorf("%s compiles", source)
		}
	}
}

func TestTemplateFromManyGoroutines(t *testing.T) {
	source, err := os.ReadFile("testdata/templates/qwen3.jinja")
	if err != nil {
		t.Fatal(err)
	}
	template := NewTemplate(testModel(), string(source), nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				content := fmt.Sprint(i, j)
				text, err := template.Render([]runtime.Message{{Role: "user", Content: content}}, Options{})
				if want := "<|im_start|>user\n" + content + "<|im_end|>\n"; err != nil || text != want {
					t.Errorf("got %q and %v, want %q", text, err, want)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzTemplate(f *testing.F) {
	paths, _ := filepath.Glob("testdata/templates/*.jinja")
	for _, path := range paths {
		source, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(source))
	}
	for _, source := range []string{"{{", "{%", "{#", "{{ '\\x", "{{ a[", "{% for x %}", "{% raw %}", "{{ (((", "{{ }}", "{%-", "{{ '", "{% macro %}", "{{ f(a=) }}", "{% set %}", "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
		"{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "{% set ns = namespace(x=1) %}{% set ns.x = [ns] %}{{ ns }}"} {
		f.Add(source)
	}
	f.Fuzz(func(t *testing.T, source string) {
		NewTemplate(testModel(), source, nil)
	})
}

func BenchmarkTemplate(b *testing.B) {
	source, err := os.ReadFile("testdata/templates/qwen3.jinja")
	if err != nil {
		b.Fatal(err)
	}
	template := NewTemplate(testModel(), string(source), nil)
	messages := []runtime.Message{{Role: "system", Content: "Be brief."}, {Role: "user", Content: "hi"}, {Role: "assistant", Content: "hello"}, {Role: "user", Content: "more"}}
	for b.Loop() {
		if _, err := template.Render(messages, Options{AddGenerationPrompt: true}); err != nil {
			b.Fatal(err)
		}
	}
}
