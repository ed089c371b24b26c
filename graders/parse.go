package graders

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// Bounds of a definition and of what it makes.
const (
	MaxBytes    = 256 << 10 // of a definition
	maxGraders  = 16        // of a multi grader
	maxFormula  = 1024      // bytes
	maxDepth    = 32        // of a formula, and steps of a path
	maxMessages = 32        // of a question to a model
	maxHeaders  = 16        // of a request to an endpoint
	maxRendered = 1 << 20   // bytes of what a template makes
	maxCompared = 64 << 10  // characters of a text that is compared
	maxName     = 256       // bytes
)

// reader reads one definition.
type reader struct {
	field  string // where it stands
	tools  Tools
	inside bool // within a multi grader
}

// Parse reads a grader in OpenAI's form; field names it in errors, which are FieldErrors. Graders that need one of the tools
// are refused where it is nil.
func Parse(raw json.RawMessage, field string, t Tools) (*Grader, error) {
	if len(raw) > MaxBytes {
		return nil, &FieldError{Field: field, Reason: fmt.Sprintf("has %d bytes, at most %d are read", len(raw), MaxBytes)}
	}
	r := &reader{field: field, tools: t}
	return r.grader(raw)
}

// fault returns a FieldError of a field of the definition; "" is the definition itself.
func (r *reader) fault(field, format string, args ...any) *FieldError {
	if field != "" {
		field = "." + field
	}
	return &FieldError{Field: r.field + field, Reason: fmt.Sprintf(format, args...)}
}

func (r *reader) unsupported(field, format string, args ...any) *FieldError {
	e := r.fault(field, format, args...)
	e.Unsupported = true
	return e
}

// kinds are the graders there are, with the function that reads each.
var kinds = map[string]func(*reader, json.RawMessage) (grader, error){
	"string_check": (*reader).stringCheck, "text_similarity": (*reader).textSimilarity, "score_model": (*reader).scoreModel,
	"endpoint": (*reader).endpoint, "python": (*reader).python,
}

func init() { kinds["multi"] = (*reader).multi } // which reads the others

// grader reads a definition of any kind.
func (r *reader) grader(raw json.RawMessage) (*Grader, error) {
	if jsonvalue.Kind(raw) != "object" {
		return nil, r.fault("", "is %s: an object is expected, such as {\"type\": \"string_check\", ...}", jsonvalue.Clip(raw))
	}
	var head struct {
		Type *string `json:"type"`
		Name string  `json:"name"`
	}
	if err := jsonvalue.Decode(raw, &head); err != nil {
		return nil, r.typeFault(err)
	}
	if head.Type == nil {
		return nil, r.fault("type", "is missing: %s", strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
	}
	read, ok := kinds[*head.Type]
	switch {
	case *head.Type == "label_model":
		return nil, r.unsupported("type", "is label_model, which has no reward: score_model has")
	case !ok:
		return nil, r.fault("type", "is %q, it must be one of %s", clip(*head.Type), strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
	case len(head.Name) > maxName:
		return nil, r.fault("name", "has %d bytes, at most %d are read", len(head.Name), maxName)
	}
	g := &Grader{name: head.Name, kind: *head.Type, raw: slices.Clone(raw)}
	if g.name == "" {
		g.name = *head.Type
	}
	var err error
	if g.grader, err = read(r, raw); err != nil {
		return nil, err
	}
	return g, nil
}

// decode reads the fields of a definition, and refuses others by name.
func (r *reader) decode(raw json.RawMessage, into any) error {
	if err := jsonvalue.Decode(raw, into); err != nil {
		return r.typeFault(err)
	}
	if name := jsonvalue.Unknown(raw, into); name != "" {
		return r.unsupported(clip(name), "is not a field of this grader")
	}
	return nil
}

// typeFault says which field has a value of the wrong kind.
func (r *reader) typeFault(err error) error {
	var e *json.UnmarshalTypeError
	if errors.As(err, &e) && e.Field != "" {
		return r.fault(e.Field, "is %s: %s is expected", e.Value, jsonvalue.TypeName(e.Type.Kind()))
	}
	return r.fault("", "is not read: %v", err)
}

// template reads a field that is a template; nil is one that is missing.
func (r *reader) template(field string, text *string) (*template, error) {
	if text == nil {
		return nil, r.fault(field, "is missing: a text such as {{ sample.output_text }}")
	}
	t, err := parseTemplate(*text)
	if err != nil {
		return nil, r.fault(field, "%v", err)
	}
	return t, nil
}

// common are the fields that every grader has.
type common struct {
	Type          string   `json:"type"`
	Name          string   `json:"name"`
	PassThreshold *float64 `json:"pass_threshold"` // of evaluations: the reward is what is returned
}

func (r *reader) stringCheck(raw json.RawMessage) (grader, error) {
	var d struct {
		common
		Input     *string `json:"input"`
		Reference *string `json:"reference"`
		Operation *string `json:"operation"`
	}
	if err := r.decode(raw, &d); err != nil {
		return nil, err
	}
	g := &stringCheck{}
	switch {
	case d.Operation == nil:
		return nil, r.fault("operation", "is missing: eq, ne, like or ilike")
	case !slices.Contains([]string{"eq", "ne", "neq", "like", "ilike"}, *d.Operation):
		return nil, r.fault("operation", "is %q, it must be eq, ne, like or ilike", clip(*d.Operation))
	}
	g.operation = *d.Operation
	var err error
	g.input, g.reference, err = r.both(d.Input, d.Reference)
	return g, err
}

func (r *reader) both(input, reference *string) (a, b *template, err error) {
	if a, err = r.template("input", input); err == nil {
		b, err = r.template("reference", reference)
	}
	return a, b, err
}

func (r *reader) textSimilarity(raw json.RawMessage) (grader, error) {
	var d struct {
		common
		Input     *string `json:"input"`
		Reference *string `json:"reference"`
		Metric    *string `json:"evaluation_metric"`
	}
	if err := r.decode(raw, &d); err != nil {
		return nil, err
	}
	words := strings.Join(slices.Sorted(maps.Keys(metrics)), ", ")
	if d.Metric == nil {
		return nil, r.fault("evaluation_metric", "is missing: %s", words)
	}
	if reason := refusedMetrics[*d.Metric]; reason != "" {
		return nil, r.unsupported("evaluation_metric", "is %s, which %s", *d.Metric, reason)
	}
	metric := metrics[*d.Metric]
	if metric == nil {
		return nil, r.fault("evaluation_metric", "is %q, it must be one of %s", clip(*d.Metric), words)
	}
	g := &textSimilarity{metric: metric(r.tools)}
	if g.metric == nil {
		return nil, r.unsupported("evaluation_metric", "is %s, for which there are no embeddings here", *d.Metric)
	}
	var err error
	g.input, g.reference, err = r.both(d.Input, d.Reference)
	return g, err
}

func (r *reader) multi(raw json.RawMessage) (grader, error) {
	var d struct {
		common
		Graders map[string]json.RawMessage `json:"graders"`
		Output  *string                    `json:"calculate_output"`
	}
	if err := r.decode(raw, &d); err != nil {
		return nil, err
	}
	switch {
	case r.inside:
		return nil, r.unsupported("type", "is multi within a multi grader")
	case len(d.Graders) == 0:
		return nil, r.fault("graders", "are missing: an object with graders by the names that calculate_output uses")
	case len(d.Graders) > maxGraders:
		return nil, r.fault("graders", "are %d, at most %d are run", len(d.Graders), maxGraders)
	case d.Output == nil:
		return nil, r.fault("calculate_output", `is missing: a formula such as "0.5 * a + 0.5 * b"`)
	}
	g := &multi{graders: make(map[string]*Grader)}
	for _, name := range slices.Sorted(maps.Keys(d.Graders)) {
		if head, rest := identifier(name); head == "" || rest != "" || head[0] >= '0' && head[0] <= '9' {
			return nil, r.fault("graders", "have the name %q: letters, digits and _ are what calculate_output can name", clip(name))
		}
		inner := &reader{field: r.field + ".graders." + name, tools: r.tools, inside: true}
		one, err := inner.grader(d.Graders[name])
		if err != nil {
			return nil, err
		}
		g.graders[name] = one
	}
	var err error
	if g.output, err = parseExpression(*d.Output, func(name string) bool { return g.graders[name] != nil }); err != nil {
		return nil, r.fault("calculate_output", "%v", err)
	}
	return g, nil
}

func (r *reader) endpoint(raw json.RawMessage) (grader, error) {
	var d struct {
		common
		URL       *string           `json:"url"`
		Headers   map[string]string `json:"headers"`
		RateLimit *int              `json:"rate_limit"` // of OpenAI's own requests; here the job's group bounds them
	}
	if err := r.decode(raw, &d); err != nil {
		return nil, err
	}
	switch {
	case d.URL == nil:
		return nil, r.fault("url", "is missing")
	case r.tools.Post == nil:
		return nil, r.unsupported("type", "is endpoint: this server asks none (--grader-endpoint allows some)")
	case len(d.Headers) > maxHeaders:
		return nil, r.fault("headers", "are %d, at most %d are sent", len(d.Headers), maxHeaders)
	}
	if err := r.tools.CheckURL(*d.URL); err != nil {
		return nil, r.unsupported("url", "%v", err)
	}
	for name, value := range d.Headers {
		if !headerName(name) || strings.ContainsAny(value, "\r\n\x00") || len(value) > 4096 {
			return nil, r.fault("headers", "have %q, which is no header that is sent", clip(name))
		}
	}
	return &endpoint{post: r.tools.Post, url: *d.URL, header: d.Headers}, nil
}

// headerName reports whether a header may be set: those that say how the request is sent may not.
func headerName(s string) bool {
	for _, c := range []byte(s) {
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	refused := []string{"host", "content-length", "content-type", "transfer-encoding", "connection", "te", "trailer", "upgrade", "expect"}
	return s != "" && len(s) <= 128 && !slices.Contains(refused, strings.ToLower(s))
}

func (r *reader) python(raw json.RawMessage) (grader, error) {
	var d struct {
		common
		Source *string `json:"source"`
		Image  string  `json:"image_tag"`
	}
	if err := r.decode(raw, &d); err != nil {
		return nil, err
	}
	switch {
	case r.tools.Run == nil:
		return nil, r.unsupported("type", "is python: this server runs no source that is sent to it (--grader-sandbox names a command that does)")
	case d.Source == nil || !strings.Contains(*d.Source, "def grade("):
		return nil, r.fault("source", "must define grade(sample, item)")
	case d.Image != "":
		return nil, r.unsupported("image_tag", "is not supported: the operator's sandbox decides")
	}
	return &python{run: r.tools.Run, source: *d.Source}, nil
}
