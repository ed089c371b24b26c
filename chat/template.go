package chat

import (
	"errors"
	"fmt"
	"slices"
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

	mask    *masker
	dialect dialect
}

// Template turns a conversation into the text and tokens that the base was trained on. Serving and training
// use this same code, so that both see the same tokens. Its methods may be called from any goroutine.
type Template struct {
	model      runtime.Model
	source     string // the Jinja in use; "" where another format is
	toolSource string // the same of tools
	reason     string // why source is not what the model asked for
	format     format
	tools      *format  // for conversations with tools, where the model has a template of its own for them
	masking    *masker  // of control tokens in what a client wrote
	ends       []string // the texts of the tokens that end an answer
}

// format is a way of rendering, with the conventions that it expects of its input.
type format struct {
	render renderer
	dialect
	tooling
}

// renderer is one way of rendering a conversation. It is safe for concurrent use.
type renderer func(messages []runtime.Message, o Options) (string, error)

// NewTemplate compiles source, or the model's own templates where source is "", and renders a probe with it.
// Where that fails it falls back, in this order, to the chat format that Model.KnownTemplate detects and to
// ChatML, and says so once through log (which may be nil) and from then on through Fallback.
// A model without any template gets ChatML if its vocabulary has <|im_start|> and <|im_end|>, else plain
// "Role: text" lines.
func NewTemplate(m runtime.Model, source string, log func(string)) *Template {
	if log == nil {
		log = func(string) {}
	}
	t := &Template{model: m, masking: newMasker(m), ends: endTexts(m)}
	if source == "" {
		source = m.Facts().ChatTemplate
		t.toolTemplate(m.Facts(), log)
	}
	t.choose(source, log)
	t.format.detect(m, source, t.ends)
	t.format.setMarkers(m)
	return t
}

// Other compiles other templates for the same model, as an adapter may have its own, and renders probes with them: one for
// all conversations and one for those with tools. Where one of them is "", that of t is meant for the first, and the first for
// the second. The error says why they cannot be used. Sources that are the model's own, or those in use, give the same Template.
func (t *Template) Other(source, toolSource string) (*Template, error) {
	plain := strings.TrimSpace(source)
	own := plain == "" || plain == strings.TrimSpace(t.source) || plain == strings.TrimSpace(t.model.Facts().ChatTemplate)
	if own && (toolSource == "" || strings.TrimSpace(toolSource) == strings.TrimSpace(t.toolSource)) {
		return t, nil
	}
	other := &Template{model: t.model, masking: t.masking, ends: t.ends, source: source, toolSource: toolSource}
	if own {
		other.source, other.reason, other.format = t.source, t.reason, t.format
	} else {
		f, err := t.otherFormat(source, nil)
		if err != nil {
			return nil, err
		}
		other.format = *f
	}
	if toolSource != "" {
		f, err := t.otherFormat(toolSource, probeTools)
		if err != nil {
			return nil, fmt.Errorf("tool_use: %w", err)
		}
		other.tools = f
	}
	return other, nil
}

// otherFormat compiles a template that need not be trusted. tools are those of the first probe.
func (t *Template) otherFormat(source string, tools any) (*format, error) {
	r, err := compileJinja(t.model.Facts(), source, time.Now)
	if err != nil {
		return nil, err
	}
	limited, late := within(maxTime, r)
	if err := probe(limited, tools); err != nil {
		return nil, err
	}
	f := &format{render: limited, dialect: dialectOf(limited)}
	f.detect(t.model, source, t.ends)
	if late() {
		return nil, fmt.Errorf("it took longer than %v to render some short conversations", maxTime)
	}
	f.render = r
	f.setMarkers(t.model)
	return f, nil
}

// within is a renderer that refuses to begin after some time has passed, and late reports whether it did: an untrusted template
// is rendered several times until it is known.
func within(limit time.Duration, r renderer) (limited renderer, late func() bool) {
	end, refused := time.Now().Add(limit), false
	return func(messages []runtime.Message, o Options) (string, error) {
		if refused = refused || time.Now().After(end); refused {
			return "", runtime.ErrTemplate
		}
		return r(messages, o)
	}, func() bool { return refused }
}

// endTexts are the texts of the tokens that end an answer.
func endTexts(m runtime.Model) []string {
	var ends []string
	if text := m.Facts().EOSText; text != "" {
		ends = append(ends, text)
	}
	for id := range runtime.Token(m.Facts().VocabSize) {
		if m.EndOfGeneration(id) {
			ends = append(ends, string(m.Piece(id, true)))
		}
	}
	return ends
}

// choose sets the default format, as NewTemplate says.
func (t *Template) choose(source string, log func(string)) {
	m := t.model
	if source == "" {
		t.format.render = plain
		t.reason = "the model file has no chat template: messages are rendered as \"Role: text\" lines"
		if hasToken(m, "<|im_start|>") && hasToken(m, "<|im_end|>") {
			t.format.render = chatML
			t.reason = "the model file has no chat template: ChatML is used, which its vocabulary has tokens for"
		}
		log(t.reason)
		return
	}
	r, err := compileJinja(m.Facts(), source, time.Now)
	if err == nil {
		err = probe(r, nil)
	}
	if err == nil {
		t.source, t.format = source, format{render: r, dialect: dialectOf(r)}
		return
	}
	t.format.render = func(messages []runtime.Message, o Options) (string, error) {
		return m.KnownTemplate(messages, o.AddGenerationPrompt)
	}
	t.reason = fmt.Sprintf("%v: the C library's own version of this chat format is used", err)
	if probe(t.format.render, nil) != nil {
		t.format.render = chatML
		t.reason = fmt.Sprintf("%v: ChatML is used", err)
	}
	log(t.reason)
}

// toolTemplate compiles the template that the model has for conversations with tools, where it has one: transformers
// takes the one named tool_use.
func (t *Template) toolTemplate(f *runtime.Facts, log func(string)) {
	if f.ToolTemplate == "" {
		return
	}
	r, err := compileJinja(f, f.ToolTemplate, time.Now)
	if err == nil {
		err = probe(r, probeTools)
	}
	if err != nil {
		log(fmt.Sprintf("the template named tool_use cannot be used, conversations with tools are rendered by the default one: %v", err))
		return
	}
	t.tools, t.toolSource = &format{render: r, dialect: dialectOf(r)}, f.ToolTemplate
	t.tools.detect(t.model, t.toolSource, t.ends)
	t.tools.setMarkers(t.model)
}

// AllowSpecialInContent makes control tokens in clients' messages count as control tokens. It must be called before the
// first use.
func (t *Template) AllowSpecialInContent() { t.masking.allow = true }

// Fallback reports whether something else than the model's own template is in use, and why.
func (t *Template) Fallback() (reason string, yes bool) { return t.reason, t.reason != "" }

// Source is the Jinja source in use, "" where Fallback says that something else is.
func (t *Template) Source() string { return t.source }

// Render returns the conversation's text, control tokens included, for Encode. Control tokens that a client wrote are
// masked in it; Show restores them. It returns an error wrapping runtime.ErrTemplate with
// the template's own message where the template refuses the conversation.
func (t *Template) Render(messages []runtime.Message, o Options) (string, error) {
	f := t.formatFor(o.Tools != nil)
	o.mask, o.dialect = t.masking, f.dialect
	list := make([]runtime.Message, len(messages))
	for i, m := range messages {
		m.Content = t.masking.hide(m.Content)
		if !t.KnowsRole(m.Role) { // "<|" + role + "|>" may be a control token
			m.Role = t.masking.hide(m.Role)
		}
		list[i] = m
	}
	list, err := f.adapt(list, &o)
	if err != nil {
		return "", fmt.Errorf("%w: %w", runtime.ErrTemplate, err)
	}
	if o.Continue {
		if len(list) == 0 || list[len(list)-1].Content == "" {
			return "", fmt.Errorf("%w: the last message cannot be continued: it has no text", runtime.ErrTemplate)
		}
		list[len(list)-1].Content += endMark
	}
	text, err := f.render(list, o)
	if err != nil && !errors.Is(err, runtime.ErrTemplate) {
		err = fmt.Errorf("%w: %w", runtime.ErrTemplate, err)
	}
	if err == nil && o.Continue {
		return untilEnd(text)
	}
	return text, err
}

// Roles are those that OpenAI's messages have.
var Roles = []string{"system", "developer", "user", "assistant", "tool", "function"}

// KnowsRole reports whether a message may have the role: one of Roles, or one that the model's template names, as
// Llama's names ipython. A template would take a misspelled role for any other one, or leave the message out.
func (t *Template) KnowsRole(role string) bool {
	if slices.Contains(Roles, role) {
		return true
	}
	for _, source := range []string{t.source, t.toolSource} {
		if strings.Contains(source, "'"+role+"'") || strings.Contains(source, `"`+role+`"`) {
			return true
		}
	}
	return false
}

// endMark follows the text of a message that is to be continued. Its space tells whether the template trims the text.
const endMark = string(endRune) + " "

// untilEnd cuts what a template writes after the message that is to be continued.
func untilEnd(text string) (string, error) {
	at := strings.LastIndex(text, string(endRune))
	if at < 0 {
		return "", fmt.Errorf("%w: the last message cannot be continued: the template does not write it", runtime.ErrTemplate)
	}
	before := text[:at]
	if !strings.HasPrefix(text[at:], endMark) {
		before = strings.TrimRightFunc(before, pythonSpace) // as the template would have done
	}
	return strings.NewReplacer(endMark, "", string(endRune), "").Replace(before), nil // where it writes the text twice
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

// EncodeText returns the tokens of a text that was not rendered and means its control tokens as such, with the model's
// BOS in front where it wants one and the text does not begin with it.
func (t *Template) EncodeText(text string) ([]runtime.Token, error) {
	return t.model.Tokenize(text, t.wantsBOS(text), true)
}

// wantsBOS reports whether BOS is to be put before a text: one that begins with it would otherwise have two.
func (t *Template) wantsBOS(text string) bool {
	f := t.model.Facts()
	return f.AddBOS && (f.BOSText == "" || !strings.HasPrefix(text, f.BOSText))
}

// Encode returns the tokens of a text that Render gave, or of a beginning of one, with BOS as EncodeText.
func (t *Template) Encode(text string) ([]runtime.Token, error) {
	bos := t.wantsBOS(text)
	if !hidden(text) {
		return t.model.Tokenize(text, bos, true)
	}
	tokens, err := t.EncodePart(text)
	if err != nil || !bos {
		return tokens, err
	}
	frame, err := t.model.Tokenize("", true, true) // BOS, and EOS where the model ends every text with it
	if err != nil || len(frame) == 0 {
		return tokens, err
	}
	return slices.Concat(frame[:1], tokens, frame[1:]), nil
}

// EncodePart returns the tokens of any stretch of a text that Render gave, without BOS.
func (t *Template) EncodePart(text string) ([]runtime.Token, error) {
	if !hidden(text) {
		return t.model.Tokenize(text, false, true)
	}
	return t.masking.encode(t.model, text)
}

// Show returns a text that Render gave with its masked characters restored, for people to read.
func (t *Template) Show(text string) string { return t.masking.show(text) }

// probe renders two turns. A template that refuses them by its own rules works.
func probe(r renderer, tools any) error {
	_, err := r([]runtime.Message{{Role: "user", Content: "a"}, {Role: "assistant", Content: "b"}, {Role: "user", Content: "c"}},
		Options{AddGenerationPrompt: true, Tools: tools})
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
