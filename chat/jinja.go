package chat

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// compileJinja parses source once and returns what renders it. now is the clock of strftime_now.
func compileJinja(f *runtime.Facts, source string, now func() time.Time) (r renderer, err error) {
	defer recovered(&err)
	normal, err := normalizeJinja(source)
	if err != nil {
		return nil, err
	}
	const id = "/chat_template"
	loader, err := loaders.NewMemoryLoader(map[string]string{id: normal})
	if err != nil {
		return nil, err
	}
	c := config.New()
	c.KeepTrailingNewline = true
	compiled, err := exec.NewTemplate(id, c, loader, templateEnvironment(newBudget(0), now))
	if err != nil {
		return nil, rootCause(err)
	}
	return func(messages []runtime.Message, o Options) (text string, err error) {
		defer recovered(&err)
		in := newReader(o.mask)
		vars, err := variables(f, messages, o, in)
		if err != nil {
			return "", err
		}
		var refused error // by the template itself
		vars["raise_exception"] = func(message string) (string, error) {
			refused = refusal(message)
			return "", refused
		}
		b := newBudget(in.bytes)
		b.input = in.dicts
		vars[budgetKey] = b // last: no client's variable takes its place
		environment := templateEnvironment(b, now)
		environment.Context = environment.Context.Inherit().Update(exec.NewContext(vars))
		var out strings.Builder
		err = exec.NewRenderer(environment, &out, c, loader, compiled).Execute()
		if refused != nil {
			return "", refused
		}
		if err != nil {
			return "", rootCause(err)
		}
		return out.String(), nil
	}, nil
}

// refusal is a template's own message for a conversation it does not take.
type refusal string

func (r refusal) Error() string { return string(r) }

// variables are what transformers gives a template.
func variables(f *runtime.Facts, messages []runtime.Message, o Options, in *reader) (map[string]any, error) {
	vars := map[string]any{"bos_token": f.BOSText, "eos_token": f.EOSText, "documents": none{}}
	for name, v := range o.Kwargs {
		value, err := in.value(v)
		if err != nil {
			return nil, fmt.Errorf("chat_template_kwargs.%s: %w", name, err)
		}
		vars[name] = value
	}
	tools, err := in.value(o.Tools)
	if err != nil {
		return nil, fmt.Errorf("tools: %w", err)
	}
	conversation := make(list, len(messages))
	for i, m := range messages {
		if conversation[i], err = in.message(m, o.dialect); err != nil {
			return nil, fmt.Errorf("messages[%d].%w", i, err)
		}
	}
	vars["messages"], vars["tools"], vars["add_generation_prompt"] = conversation, tools, o.AddGenerationPrompt
	return vars, nil
}

// recovered turns a panic of the library into an error: a template is data and must not end the process.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%v", p)
	}
}

// rootCause unwraps the library's errors, each of which repeats the source it stands in, to the innermost.
func rootCause(err error) error {
	for {
		var next error
		if v, ok := err.(*exec.Value); ok { //nolint:errorlint // every link of the chain is looked at by itself
			next, _ = v.Interface().(error)
		} else {
			next = errors.Unwrap(err)
		}
		if next == nil {
			return errors.New(strings.TrimSpace(err.Error()))
		}
		err = next
	}
}
