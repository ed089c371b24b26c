package chat

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Options are what a conversation is rendered with besides its messages.
type Options struct {
	AddGenerationPrompt bool // end with the opening of the assistant's next turn
	Continue            bool // end within the last message, whose end the answer is; without AddGenerationPrompt
	// Tools is the request's list of tools, nil for none. A json.RawMessage keeps the order of its keys,
	// which templates print; so does a json.RawMessage anywhere inside Kwargs or Message.Extra.
	Tools any
	// Kwargs are further variables of the template ("enable_thinking"). They come after the
	// standard ones, so they may replace bos_token but not messages.
	Kwargs map[string]any
}

// Template turns a conversation into the text and tokens that the base was trained on. Serving and training
// use this same code, so that both see the same tokens. Its methods may be called from any goroutine.
type Template struct {
	model    runtime.Model
	source   string // the Jinja in use; "" where another format is
	reason   string // why source is not what the model asked for
	renderer renderer
}

// renderer is one way of rendering a conversation. It is safe for concurrent use.
type renderer func(messages []runtime.Message, o Options) (string, error)

// NewTemplate compiles source, or Facts().ChatTemplate where source is "", and renders a probe with it.
// Where that fails it falls back, in this order, to the chat format that Model.KnownTemplate detects and to
// ChatML, and says so once through log (which may be nil) and from then on through Fallback.
// A model without any template gets ChatML if its vocabulary has <|im_start|> and <|im_end|>, else plain
// "Role: text" lines.
func NewTemplate(m runtime.Model, source string, log func(string)) *Template {
	if log == nil {
		log = func(string) {}
	}
	if source == "" {
		source = m.Facts().ChatTemplate
	}
	t := &Template{model: m}
	if source == "" {
		t.renderer = plain
		t.reason = "the model file has no chat template: messages are rendered as \"Role: text\" lines"
		if hasToken(m, "<|im_start|>") && hasToken(m, "<|im_end|>") {
			t.renderer = chatML
			t.reason = "the model file has no chat template: ChatML is used, which its vocabulary has tokens for"
		}
		log(t.reason)
		return t
	}
	r, err := compileJinja(m.Facts(), source, time.Now)
	if err == nil {
		err = probe(r)
	}
	if err == nil {
		t.source, t.renderer = source, r
		return t
	}
	t.renderer = func(messages []runtime.Message, o Options) (string, error) {
		return m.KnownTemplate(messages, o.AddGenerationPrompt)
	}
	t.reason = fmt.Sprintf("%v: the C library's own version of this chat format is used", err)
	if probe(t.renderer) != nil {
		t.renderer = chatML
		t.reason = fmt.Sprintf("%v: ChatML is used", err)
	}
	log(t.reason)
	return t
}

// Fallback reports whether something else than the model's own template is in use, and why.
func (t *Template) Fallback() (reason string, yes bool) { return t.reason, t.reason != "" }

// Source is the Jinja source in use, "" where Fallback says that something else is.
func (t *Template) Source() string { return t.source }

// Render returns the conversation's text, as the model's control tokens and words. It returns an error
// wrapping ErrTemplate with the template's own message where the template refuses the conversation.
func (t *Template) Render(messages []runtime.Message, o Options) (string, error) {
	text, err := t.renderer(messages, o)
	if err != nil && !errors.Is(err, runtime.ErrTemplate) {
		err = fmt.Errorf("%w: %w", runtime.ErrTemplate, err)
	}
	if err == nil && o.Continue {
		return untilEnd(text, messages)
	}
	return text, err
}

// untilEnd cuts what a template writes after the last message. Many write messages without white space around them.
func untilEnd(text string, messages []runtime.Message) (string, error) {
	last := ""
	if len(messages) > 0 {
		last = messages[len(messages)-1].Content
	}
	for _, content := range []string{last, strings.TrimSpace(last)} {
		if at := strings.LastIndex(text, content); at >= 0 && content != "" {
			return text[:at+len(content)], nil
		}
	}
	return "", fmt.Errorf("%w: the last message cannot be continued: the conversation's text does not have it", runtime.ErrTemplate)
}

// Tokenize returns the conversation's tokens: Render's text with its control tokens read as such, and the
// model's BOS in front where it wants one and the template did not already print it.
func (t *Template) Tokenize(messages []runtime.Message, o Options) ([]runtime.Token, error) {
	text, err := t.Render(messages, o)
	if err != nil {
		return nil, err
	}
	return t.Encode(text)
}

// Encode returns the tokens of a text that Render gave, or of a beginning of one.
func (t *Template) Encode(text string) ([]runtime.Token, error) {
	f := t.model.Facts()
	bos := f.AddBOS && !(f.BOSText != "" && strings.HasPrefix(text, f.BOSText))
	return t.model.Tokenize(text, bos, true)
}

// probe renders two turns. A template that refuses them by its own rules works.
func probe(r renderer) error {
	_, err := r([]runtime.Message{{Role: "user", Content: "a"}, {Role: "assistant", Content: "b"}, {Role: "user", Content: "c"}},
		Options{AddGenerationPrompt: true})
	if errors.As(err, new(refusal)) {
		return nil
	}
	return err
}

// hasToken reports whether text is one control token of the vocabulary.
func hasToken(m runtime.Model, text string) bool {
	tokens, err := m.Tokenize(text, false, true)
	return err == nil && len(tokens) == 1
}

// chatML is the format that most chat models without a template of their own were trained on.
func chatML(messages []runtime.Message, o Options) (string, error) {
	var b strings.Builder
	for _, m := range messages {
		b.WriteString("<|im_start|>" + m.Role + "\n" + m.Content + "<|im_end|>\n")
	}
	if o.AddGenerationPrompt {
		b.WriteString("<|im_start|>assistant\n")
	}
	return b.String(), nil
}

// plain is the format for base models that know no chat: "User: hello\nAssistant:".
func plain(messages []runtime.Message, o Options) (string, error) {
	var b strings.Builder
	for _, m := range messages {
		b.WriteString(title(m.Role) + ": " + m.Content + "\n")
	}
	if o.AddGenerationPrompt {
		b.WriteString("Assistant:")
	}
	return b.String(), nil
}

func title(role string) string {
	if role == "" {
		return role
	}
	return strings.ToUpper(role[:1]) + role[1:]
}
