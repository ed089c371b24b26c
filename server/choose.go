package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/tinker"
)

// maxScale bounds the scale of one adapter of a request.
const maxScale = 16

// model is what a request's model and adapter fields choose.
type model struct {
	name      string // what the response calls it
	selection *adapters.Selection
	label     json.RawMessage // the response's adapter field
}

// release ends the request's use of the selection; twice is safe.
func (m *model) release() {
	if m.selection != nil {
		m.selection.Release()
	}
}

// choose resolves the model and adapter fields to versions. The caller releases the model.
func (s *Server) choose(who caller, p *openapi.GenerationParameters) (*model, error) {
	if err := refuseOtherServersFields(p); err != nil {
		return nil, err
	}
	m := &model{name: s.name, label: json.RawMessage("null")}
	var named *adapters.Ref
	if p.Model != nil && *p.Model != "" {
		m.name = *p.Model
		var err error
		if named, err = s.resolve(who, *p.Model); err != nil {
			return nil, err
		}
	}
	param := "adapter"
	refs, err := s.adapterRefs(who, p.Adapter)
	if err != nil {
		return nil, err
	}
	if jsonvalue.Kind(p.Lora) != "null" {
		if named != nil || jsonvalue.Kind(p.Adapter) != "null" {
			return nil, refuse(codeValue, "lora", "is given, and model or adapter name an adapter too: give one of them")
		}
		param = "lora"
		if refs, err = s.loraRefs(who, p.Lora, "lora"); err != nil {
			return nil, err
		}
	} else if named == nil && jsonvalue.Kind(p.Adapter) == "null" {
		param = "lora"
		refs = s.defaultRefs(who)
	}
	if named != nil {
		if refs, err = agree(*named, refs, jsonvalue.Kind(p.Adapter) != "null"); err != nil {
			return nil, err
		}
		if jsonvalue.Kind(p.Adapter) == "null" {
			param = "model"
		}
	}
	if len(refs) == 0 {
		return m, nil
	}
	if m.selection, err = s.cache.Select(refs); err != nil {
		return nil, withParam(param, err)
	}
	m.label = labelOf(m.selection.Terms())
	return m, nil
}

// refuseOtherServersFields refuses a field by which another server would answer with an adapter, hold the answer to a form, or
// end it elsewhere: if it were ignored, another answer would come without a word.
func refuseOtherServersFields(p *openapi.GenerationParameters) error {
	const form = `a JSON schema goes into "response_format", and other forms are a GBNF grammar in "grammar"`
	for _, f := range []struct {
		param   string
		value   json.RawMessage
		neutral string // what asks for nothing, besides what isEmpty knows
		server  string
		instead string
	}{
		{"lora_path", p.LoraPath, "", "SGLang", `name the adapter in "adapter", which takes scales and lists too, or in "model"`},
		{"guided_json", p.GuidedJson, "", "vLLM", form},
		{"guided_regex", p.GuidedRegex, "", "vLLM", form},
		{"guided_choice", p.GuidedChoice, "", "vLLM", form},
		{"guided_grammar", p.GuidedGrammar, "", "vLLM", form},
		{"structured_outputs", p.StructuredOutputs, "", "vLLM", form},
		{"regex", p.Regex, "", "SGLang", form},
		{"ebnf", p.Ebnf, "", "SGLang", form},
		{"min_tokens", p.MinTokens, "0", "vLLM", `"ignore_eos" keeps an answer from ending before "max_tokens"`},
		{"stop_token_ids", p.StopTokenIds, "", "vLLM", `"stop" takes texts`},
		{"bad_words", p.BadWords, "", "vLLM", `"logit_bias" bans tokens`},
		{"n_predict", p.NPredict, "-1", "llama-server", `the length of an answer is "max_tokens"`},
		{"n_probs", p.NProbs, "0", "llama-server", `log-probabilities are asked for by "logprobs"`},
	} {
		if !isEmpty(f.value) && string(f.value) != f.neutral {
			return refuse(codeUnsupported, f.param, "is %s's field: %s", f.server, f.instead)
		}
	}
	return nil
}

// isEmpty reports whether a value is null, an empty string or an empty array.
func isEmpty(raw json.RawMessage) bool {
	switch jsonvalue.Kind(raw) {
	case "null":
		return true
	case "array":
		var list []json.RawMessage
		return json.Unmarshal(raw, &list) == nil && len(list) == 0
	case "string":
		return string(raw) == `""`
	}
	return false
}

// unnamedModels are what clients name the model of a server where they were told none, as servers with one model need it: those
// of Hugging Face. An adapter may have such a name all the same.
var unnamedModels = []string{"dummy", "tgi"}

// resolve reads a model name: the base's id or alias (no Ref), an adapter, or base:adapter.
func (s *Server) resolve(who caller, name string) (*adapters.Ref, error) {
	for _, id := range s.ids {
		if name == id {
			return nil, nil
		}
	}
	if ref, ok := s.fineTuned(who, name); ok {
		return &ref, nil
	}
	if tinker.IsPath(name) {
		return s.tinkerRef(who, name)
	}
	reference := name
	for _, id := range s.ids {
		if rest, ok := strings.CutPrefix(name, id+":"); ok {
			reference = rest
		}
	}
	ref, err := adapters.ParseRef(s.qualifiedRef(who, reference))
	if err == nil {
		_, err = s.store.Get(ref)
	}
	if err == nil {
		return &ref, nil
	}
	if slices.Contains(unnamedModels, name) {
		return nil, nil
	}
	near := []string{}
	var unknown *adapters.UnknownError
	if hideOthers(who, err); errors.As(err, &unknown) {
		near = unknown.Close
	} else if !errors.Is(err, adapters.ErrName) && !errors.Is(err, adapters.ErrReference) {
		return nil, withParam("model", err)
	}
	message := fmt.Sprintf("model %q does not exist; the base model is %q", clipName(name), s.name)
	if len(near) > 0 {
		message += ", adapters of about that name are " + strings.Join(near, ", ")
	}
	return nil, &refusal{status: http.StatusNotFound, param: "model", code: codeModel, message: message}
}

// clipName shortens what a client sent for a name, so that an error does not repeat a page of it.
func clipName(name string) string {
	const most = 256
	if len(name) <= most {
		return name
	}
	return strings.ToValidUTF8(name[:most], "") + "..."
}

// agree combines the fields model and adapter. Where both name an adapter it must be the same one; the adapter field may
// then add a scale.
func agree(named adapters.Ref, refs []adapters.Ref, given bool) ([]adapters.Ref, error) {
	if !given {
		return []adapters.Ref{named}, nil
	}
	if len(refs) != 1 || refs[0].Name != named.Name {
		return nil, refuse(codeValue, "adapter", "does not name %s as model does: give one of the two, or the same in both", named)
	}
	ref := refs[0]
	switch {
	case ref.Version == "":
		ref.Version = named.Version
	case named.Version != "" && !strings.HasPrefix(ref.Version, named.Version) && !strings.HasPrefix(named.Version, ref.Version):
		return nil, refuse(codeValue, "adapter", "names version %s, and model %s", ref.Version, named.Version)
	}
	return []adapters.Ref{ref}, nil
}

// adapterRefs reads the adapter field: a name, an object, or a list of these.
func (s *Server) adapterRefs(who caller, raw json.RawMessage) ([]adapters.Ref, error) {
	switch jsonvalue.Kind(raw) {
	case "null":
		return nil, nil
	case "array":
		var list []json.RawMessage
		if err := decodeField(raw, "adapter", &list); err != nil {
			return nil, err
		}
		if len(list) > adapters.MaxTerms {
			return nil, refuse(codeValue, "adapter", "has %d entries, at most %d are summed", len(list), adapters.MaxTerms)
		}
		var refs []adapters.Ref
		for i, entry := range list {
			ref, err := s.adapterRef(who, entry, fmt.Sprintf("adapter[%d]", i))
			if err != nil {
				return nil, err
			}
			refs = append(refs, ref)
		}
		return refs, nil
	}
	ref, err := s.adapterRef(who, raw, "adapter")
	return []adapters.Ref{ref}, err
}

// adapterRef reads a name or an object.
func (s *Server) adapterRef(who caller, raw json.RawMessage, param string) (adapters.Ref, error) {
	var choice openapi.AdapterChoice
	switch kind := jsonvalue.Kind(raw); kind {
	case "string":
		if err := decodeField(raw, param, &choice.Name); err != nil {
			return adapters.Ref{}, err
		}
	case "object":
		if err := decodeField(raw, param, &choice); err != nil {
			return adapters.Ref{}, err
		}
		if choice.Name == "" {
			return adapters.Ref{}, refuse(codeMissing, param+".name", "is missing")
		}
	default:
		return adapters.Ref{}, refuse(codeType, param, "must be a name, an object, or an array of these, not %s", jsonvalue.Article(kind))
	}
	name := choice.Name
	if v := choice.Version; v != nil && *v != "" {
		if strings.Contains(name, "@") {
			return adapters.Ref{}, refuse(codeValue, param+".version", "is given, and name has a version too")
		}
		name += "@" + *v
	}
	ref, ours := s.fineTuned(who, name)
	if !ours {
		var err error
		if ref, err = adapters.ParseRef(name); err != nil {
			return ref, withParam(param, err)
		}
		ref.Name = s.qualifiedName(who, ref.Name)
	}
	var c checker
	ref.Scale = c.number(param+".scale", choice.Scale, 1, -maxScale, maxScale)
	return ref, c.err
}

// labelOf returns the names of the versions that answer: one as a string, several as a list.
func labelOf(terms []adapters.SelectedTerm) json.RawMessage {
	var b []byte
	for i, t := range terms {
		if i > 0 {
			b = append(b, ',')
		}
		label := t.Name + "@" + t.Version
		if t.Scale != 1 {
			label = fmt.Sprintf("%s*%g", label, t.Scale)
		}
		b = jsonvalue.AppendString(b, label)
	}
	switch len(terms) {
	case 0:
		return json.RawMessage("null")
	case 1:
		return b
	}
	return append(append([]byte{'['}, b...), ']')
}
