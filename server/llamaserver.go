package server

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

// This file has the endpoints that llama-server's users know, in its shapes.

// Props describes the server.
func (s *Server) Props(c *fiber.Ctx) error {
	f := s.model.Facts()
	out := openapi.Props{
		TotalSlots: s.engine.Parallel(), ModelAlias: s.name, ModelPath: f.Name, ChatTemplate: s.template.Source(),
		BosToken: f.BOSText, EosToken: f.EOSText, BuildInfo: "lorikeet " + s.version,
		DeviceLayers: f.DeviceLayers,
	}
	if f.Device != "" {
		out.Device = &f.Device
	}
	out.DefaultGenerationSettings.NCtx = s.context
	out.DefaultGenerationSettings.Params = openapi.PropsParams{
		Temperature: 1, TopP: 1, TypicalP: 1, RepeatPenalty: 1, RepeatLastN: 64, NPredict: -1, MaxTokens: -1,
	}
	return sendJSON(c, http.StatusOK, out)
}

// Slots lists the places that the batch has for requests. They say whether they are taken, and nothing of whose request it
// is.
func (s *Server) Slots(c *fiber.Ctx, params openapi.SlotsParams) error {
	list := make([]openapi.Slot, s.engine.Parallel())
	running := s.engine.Stats().Running
	if running >= len(list) && text(params.FailOnNoSlot) != "" && text(params.FailOnNoSlot) != "0" {
		return &refusal{status: http.StatusServiceUnavailable, code: "no_slot", message: "no slot is free"}
	}
	for i := range list {
		list[i] = openapi.Slot{Id: i, NCtx: s.context, IsProcessing: i < running}
	}
	return sendJSON(c, http.StatusOK, list)
}

// ApplyTemplate renders a conversation as a chat completion would, and stops there.
func (s *Server) ApplyTemplate(c *fiber.Ctx) error {
	var req openapi.ChatCompletionRequest
	if err := s.decodeBody(c, &req); err != nil {
		return err
	}
	template, text, err := s.rendered(callerOf(c), &req)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, openapi.RenderedPrompt{Prompt: template.Show(text)})
}

// rendered renders the conversation of a chat request, without what else it may ask for. template is the one that did.
func (s *Server) rendered(who caller, req *openapi.ChatCompletionRequest) (template *chat.Template, text string, err error) {
	m, err := s.choose(who, &req.GenerationParameters)
	if err != nil {
		return nil, "", err
	}
	defer m.release()
	if template, err = s.own.of(m); err != nil {
		return nil, "", err
	}
	list, err := conversationOf(req.Messages, template)
	if err != nil {
		return nil, "", err
	}
	options, err := templateOptions(req, list)
	if err != nil {
		return nil, "", err
	}
	use, err := toolUseOf(req)
	if err != nil {
		return nil, "", err
	}
	if len(use.list) > 0 {
		options.Tools = use.raw
	}
	text, err = template.Render(list, options)
	return template, text, withParam("messages", err)
}

// numbering gives adapters the numbers that llama-server's protocol names them by, and holds what POST /lora-adapters has
// set. A number means the same adapter for as long as the server runs: adapters that come later get further ones.
type numbering struct {
	mu       sync.Mutex
	ids      map[string]int            // by whole name
	names    []string                  // by number
	defaults map[string][]adapters.Ref // by tenant: what answers where a request names no adapter
}

// number gives each adapter of a list a number, in the order in which they were registered.
func (n *numbering) number(list []adapters.Info) {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b adapters.Info) int { return a.Created.Compare(b.Created) })
	for _, i := range list {
		if _, known := n.ids[i.Name]; known {
			continue
		}
		if n.ids == nil {
			n.ids = make(map[string]int)
		}
		n.ids[i.Name] = len(n.names)
		n.names = append(n.names, i.Name)
	}
}

// adapterNumbers returns the names of adapters by their numbers, up to now.
func (s *Server) adapterNumbers() []string {
	list := s.store.List()
	s.numbers.mu.Lock()
	defer s.numbers.mu.Unlock()
	s.numbers.number(list)
	return slices.Clip(s.numbers.names) // which only grows
}

// ListLoraAdapters lists the adapters with their numbers, and the scales that requests get which name no adapter.
func (s *Server) ListLoraAdapters(c *fiber.Ctx) error {
	who := callerOf(c)
	all := s.store.List()
	s.numbers.mu.Lock()
	s.numbers.number(all)
	scales := map[string]float32{}
	for _, r := range s.numbers.defaults[who.tenant.Owner()] {
		scales[r.Name] = r.Scale
	}
	out := []openapi.LoraAdapter{}
	for _, i := range visible(who, all) {
		out = append(out, openapi.LoraAdapter{Id: s.numbers.ids[i.Name], Name: i.Name, Path: i.Name + "@" + i.Version, Scale: scales[i.Name]})
	}
	s.numbers.mu.Unlock()
	slices.SortFunc(out, func(a, b openapi.LoraAdapter) int { return a.Id - b.Id })
	return sendJSON(c, http.StatusOK, out)
}

// SetLoraAdapters sets what answers where a request names no adapter: the adapters of the list with their scales, and no
// others. With keys it holds for the tenant of the key alone.
func (s *Server) SetLoraAdapters(c *fiber.Ctx) error {
	body, done, err := s.readBody(c, s.maxBody)
	defer done()
	if err != nil {
		return err
	}
	if err := scanJSON(body); err != nil {
		return err
	}
	who := callerOf(c)
	refs, err := s.loraRefs(who, body, "lora")
	if err != nil {
		return err
	}
	selection, err := s.cache.Select(refs) // which finds what cannot be summed
	if err != nil {
		return withParam("lora", err)
	}
	selection.Release()
	s.numbers.mu.Lock()
	if s.numbers.defaults == nil {
		s.numbers.defaults = make(map[string][]adapters.Ref)
	}
	s.numbers.defaults[who.tenant.Owner()] = refs
	s.numbers.mu.Unlock()
	return sendJSON(c, http.StatusOK, openapi.LoraAdaptersSet{Success: true})
}

// defaultRefs returns what answers a caller who names no adapter. Adapters that are gone by now are left out.
func (s *Server) defaultRefs(who caller) []adapters.Ref {
	s.numbers.mu.Lock()
	refs := s.numbers.defaults[who.tenant.Owner()]
	s.numbers.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(refs), func(r adapters.Ref) bool {
		_, err := s.store.Get(r)
		return err != nil
	})
}

// loraRefs reads llama-server's list of adapters: {"id": number} or {"name": ...}, each with a scale, of which 0 leaves the
// adapter out.
func (s *Server) loraRefs(who caller, raw json.RawMessage, param string) ([]adapters.Ref, error) {
	if kind := jsonvalue.Kind(raw); kind != "array" {
		return nil, refuse(codeType, param, "must be an array of objects, not %s", jsonvalue.Article(kind))
	}
	var list []json.RawMessage
	if err := decodeField(raw, param, &list); err != nil {
		return nil, err
	}
	if len(list) > maxLora {
		return nil, refuse(codeValue, param, "has %d entries, at most %d are read", len(list), maxLora)
	}
	var refs []adapters.Ref
	numbers := s.adapterNumbers()
	for i, entry := range list {
		ref, err := s.loraRef(who, entry, numbers, fmt.Sprintf("%s[%d]", param, i))
		if err != nil {
			return nil, err
		}
		if ref.Scale != 0 {
			refs = append(refs, ref)
		}
		if len(refs) > adapters.MaxTerms {
			return nil, refuse(codeValue, param, "has more than %d adapters whose scale is not 0, no more are summed", adapters.MaxTerms)
		}
	}
	return refs, nil
}

// maxLora bounds the entries of a list, most of which may have the scale 0.
const maxLora = 4096

// loraRef reads one entry of the list. numbers are the names of adapters by their numbers.
func (s *Server) loraRef(who caller, raw json.RawMessage, numbers []string, param string) (adapters.Ref, error) {
	var entry struct {
		ID    *float64 `json:"id"`
		Name  *string  `json:"name"`
		Scale *float32 `json:"scale"`
	}
	if kind := jsonvalue.Kind(raw); kind != "object" {
		return adapters.Ref{}, refuse(codeType, param, "must be an object, not %s", jsonvalue.Article(kind))
	}
	if err := decodeField(raw, param, &entry); err != nil {
		return adapters.Ref{}, err
	}
	name := text(entry.Name)
	switch {
	case entry.ID != nil && name != "":
		return adapters.Ref{}, refuse(codeValue, param+".name", "is given beside id; one of them names the adapter")
	case entry.ID == nil && name == "":
		return adapters.Ref{}, refuse(codeMissing, param+".id", "is missing: id or name names the adapter")
	case entry.ID != nil:
		id := *entry.ID
		if id != math.Trunc(id) || math.Abs(id) > math.MaxInt32 {
			return adapters.Ref{}, refuse(codeType, param+".id", "must be an integer")
		}
		if id < 0 || int(id) >= len(numbers) || !who.tenant.Sees(numbers[int(id)]) {
			return adapters.Ref{}, refuse(codeValue, param+".id", "is %d, which no adapter has; GET /lora-adapters lists them", int(id))
		}
		name = numbers[int(id)]
	}
	ref, err := adapters.ParseRef(s.qualifiedRef(who, strings.Clone(name)))
	if err == nil {
		_, err = s.store.Get(ref)
	}
	if err != nil {
		return ref, withParam(param, err)
	}
	var c checker
	ref.Scale = c.number(param+".scale", entry.Scale, 1, -maxScale, maxScale)
	return ref, c.err
}
