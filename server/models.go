package server

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

// ListModels lists the base and every registered adapter, whether it is loaded or not: gateways route by this list.
func (s *Server) ListModels(c *fiber.Ctx) error {
	list := visible(callerOf(c), s.store.List())
	models := make([]openapi.Model, 0, len(list)+1)
	models = append(models, s.baseModel())
	for _, info := range list {
		models = append(models, s.adapterModel(info.Name, info))
	}
	return sendJSON(c, http.StatusOK, openapi.ModelList{Object: "list", Data: models})
}

// GetModel returns one model; the base's card has its facts, an adapter's has the adapter's description.
func (s *Server) GetModel(c *fiber.Ctx, id string) error {
	ref, err := s.resolve(callerOf(c), id)
	if err != nil {
		return err
	}
	if ref == nil {
		card := s.baseModel()
		card.Facts = s.facts()
		return sendJSON(c, http.StatusOK, card)
	}
	info, err := s.store.Get(*ref)
	if err != nil {
		return withParam("model", err)
	}
	card := s.adapterModel(id, info)
	adapter := adapterOf(info)
	card.Adapter = &adapter
	return sendJSON(c, http.StatusOK, card)
}

// DeleteModel deletes an adapter as OpenAI's clients delete a fine-tuned model: a name with all its versions, or the one
// version that a job's fine_tuned_model names.
func (s *Server) DeleteModel(c *fiber.Ctx, id string) error {
	ref, err := s.resolve(callerOf(c), id)
	if err != nil {
		return err
	}
	if ref == nil {
		return refuse(codeValue, "model", "%q is the base model, which cannot be deleted", id)
	}
	if !callerOf(c).tenant.OwnsAdapter(ref.Name) {
		return &refusal{status: http.StatusForbidden, param: "model", code: "not_owner",
			message: fmt.Sprintf("the adapter %q belongs to somebody else, it cannot be deleted with this API key", ref.Name)}
	}
	by := adapters.Origin{Kind: adapters.ByRequest}
	if ref.Version == "" {
		err = s.store.Delete(ref.Name, by)
	} else {
		err = s.store.DeleteVersion(*ref, by)
	}
	if err != nil {
		return withParam("model", err)
	}
	return sendJSON(c, http.StatusOK, openapi.ModelDeleted{Id: strings.Clone(id), Object: "model", Deleted: true})
}

func (s *Server) baseModel() openapi.Model {
	return openapi.Model{
		Id: s.name, Object: "model", Created: s.started.Unix(), OwnedBy: "lorikeet", Root: s.name, MaxModelLen: s.context,
	}
}

func (s *Server) adapterModel(id string, info adapters.Info) openapi.Model {
	return openapi.Model{
		Id: id, Object: "model", Created: info.Created.Unix(), OwnedBy: "lorikeet",
		Root: fmt.Sprintf("%s@%s", info.Name, info.Version), Parent: &s.name, MaxModelLen: s.context,
	}
}

// facts returns the facts of the base model.
func (s *Server) facts() *openapi.ModelFacts {
	f := s.model.Facts()
	card := &openapi.ModelFacts{
		Name: f.Name, Architecture: f.Architecture, Quantization: f.Quantization, BitsPerWeight: f.BitsPerWeight,
		ResidentBitsPerWeight: f.ResidentBits, DeviceLayers: f.DeviceLayers,
		Parameters: f.Parameters, Bytes: f.Bytes, Fingerprint: f.Fingerprint, ContextLength: f.ContextLength,
		VocabSize: f.VocabSize, Embedding: f.Embedding, Layers: f.Layers, Heads: f.Heads, KvHeads: f.KVHeads,
		ChatTemplate: openapi.ChatTemplate{Source: "model"},
		Tokenizer:    openapi.TokenizerFacts{Family: f.Tokenizer, Proven: f.TokenizerProven},
	}
	if f.Device != "" {
		card.Device = &f.Device
	}
	if reason, yes := s.template.Fallback(); yes {
		card.ChatTemplate = openapi.ChatTemplate{Source: "fallback", FallbackReason: &reason}
	}
	format := s.template.Format(true)
	card.ChatTemplate.ToolFormat, card.ChatTemplate.Reasoning = format.Family, format.Think.Open != ""
	if reason := s.template.GenericTools(); reason != "" {
		card.ChatTemplate.GenericTools = &reason
	}
	return card
}
