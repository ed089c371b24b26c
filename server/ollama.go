package server

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file has what Ollama's clients ask of models: which there are, and embeddings of texts. ollama_read.go translates
// their requests for answers, ollama_form.go writes these. Models are the base and the adapters by their names; Ollama's
// tag :latest may follow.

// ollamaVersion is the version of Ollama whose API this is: clients look whether it is new enough.
const ollamaVersion = "0.17.4"

// untagged is a model's name without the tag that Ollama puts where there is none.
func untagged(name string) string { return strings.TrimSuffix(name, ":latest") }

// OllamaVersion tells which version of Ollama's API is spoken.
func (s *Server) OllamaVersion(c *fiber.Ctx) error {
	return sendJSON(c, http.StatusOK, openapi.OllamaVersion{Version: ollamaVersion, Lorikeet: s.version})
}

// OllamaTags lists the base and the adapters.
func (s *Server) OllamaTags(c *fiber.Ctx) error {
	return sendJSON(c, http.StatusOK, openapi.OllamaModels{Models: s.ollamaModels(callerOf(c), false)})
}

// OllamaPs lists what is in memory.
func (s *Server) OllamaPs(c *fiber.Ctx) error {
	return sendJSON(c, http.StatusOK, openapi.OllamaModels{Models: s.ollamaModels(callerOf(c), true)})
}

// ollamaModels lists the base and the adapters that the caller sees, or those of them that are in memory.
func (s *Server) ollamaModels(who caller, loaded bool) []openapi.OllamaModel {
	f := s.model.Facts()
	base := openapi.OllamaModel{
		Name: s.name + ":latest", Model: s.name + ":latest", ModifiedAt: s.started.Format(time.RFC3339Nano), Size: f.Bytes,
		Digest: f.Fingerprint, Details: s.ollamaDetails(),
	}
	list := []openapi.OllamaModel{base}
	for _, i := range visible(who, s.store.List()) {
		if loaded && !i.Loaded {
			continue
		}
		m := base
		m.Name, m.Model, m.ModifiedAt, m.Size, m.Digest = i.Name+":latest", i.Name+":latest", i.Created.Format(time.RFC3339Nano), i.Bytes, i.Digest
		m.Details.ParentModel = s.name
		list = append(list, m)
	}
	if loaded {
		for i := range list {
			never := time.Now().AddDate(100, 0, 0).Format(time.RFC3339Nano)
			list[i].ExpiresAt, list[i].SizeVram, list[i].ContextLength = &never, new(int64), &s.context
		}
	}
	return list
}

// ollamaDetails describes the base.
func (s *Server) ollamaDetails() openapi.OllamaDetails {
	f := s.model.Facts()
	return openapi.OllamaDetails{
		Format: "gguf", Family: f.Architecture, Families: []string{f.Architecture},
		ParameterSize: parameterSize(f.Parameters), QuantizationLevel: f.Quantization,
	}
}

// parameterSize writes a number of parameters as Ollama does: 7.6B, 494.0M, 12.3K.
func parameterSize(n int64) string {
	for _, unit := range []struct {
		size   int64
		letter string
	}{{1e9, "B"}, {1e6, "M"}, {1e3, "K"}} {
		if n >= unit.size {
			return fmt.Sprintf("%.1f%s", float64(n)/float64(unit.size), unit.letter)
		}
	}
	return fmt.Sprint(n)
}

// errNoModel refuses a request that names no model, which Ollama's API has no default for.
func errNoModel() error { return refuse(codeMissing, "model", "is missing") }

// OllamaShow describes a model.
func (s *Server) OllamaShow(c *fiber.Ctx) error {
	var req openapi.OllamaShowRequest
	if err := s.decodeBody(c, &req); err != nil {
		return err
	}
	name := text(req.Model)
	if name == "" {
		name = text(req.Name)
	}
	if name == "" {
		return errNoModel()
	}
	ref, err := s.resolve(callerOf(c), untagged(name))
	if err != nil {
		return err
	}
	f, modified, from := s.model.Facts(), s.started, s.name
	details := s.ollamaDetails()
	if ref != nil {
		info, err := s.store.Get(*ref)
		if err != nil {
			return withParam("model", err)
		}
		modified, details.ParentModel, from = info.Created, s.name, s.name+"\nADAPTER "+adapters.Ref{Name: info.Name, Version: info.Version}.String()
	}
	capabilities := []string{"completion", "tools", "embedding"}
	if s.reasoning && s.template.Format(false).Think.Open != "" {
		capabilities = append(capabilities, "thinking")
	}
	arch := f.Architecture
	return sendJSON(c, http.StatusOK, openapi.OllamaShow{
		Modelfile: "FROM " + from + "\n", Template: s.template.Source(), Details: details, ModifiedAt: modified.Format(time.RFC3339Nano),
		ModelInfo: map[string]any{
			"general.architecture": arch, "general.basename": f.Name, "general.parameter_count": f.Parameters,
			arch + ".context_length": s.context, arch + ".embedding_length": f.Embedding, arch + ".block_count": f.Layers,
			arch + ".attention.head_count": f.Heads, arch + ".attention.head_count_kv": f.KVHeads, arch + ".vocab_size": f.VocabSize,
		},
		Capabilities: capabilities,
	})
}

// OllamaEmbed makes embeddings of texts.
func (s *Server) OllamaEmbed(c *fiber.Ctx) error {
	started := time.Now()
	body, done, err := s.readBody(c, s.maxBody)
	if err != nil {
		return err
	}
	var req openapi.OllamaEmbedRequest
	err = decodeJSON(body, &req)
	done()
	if err != nil {
		return err
	}
	if req.Model == "" {
		return errNoModel()
	}
	who, model := callerOf(c), untagged(req.Model)
	e, err := s.checkEmbedding(who, &openapi.EmbeddingRequest{
		Model: &model, Adapter: req.Adapter, Lora: req.Lora, Input: req.Input, Dimensions: req.Dimensions,
	}, flag(req.Truncate, true))
	if err != nil {
		return err
	}
	defer e.model.release()
	e.record = recordOf(c)
	ctx, stop := watch(c.Context().Conn())
	defer stop()
	list, err := s.embed(ctx, who, e)
	if errors.Is(err, runtime.ErrContextLength) {
		err = withParam("input", err)
	}
	if err != nil {
		return cause(ctx, err)
	}
	out := openapi.OllamaEmbeddings{
		Model: req.Model, TotalDuration: time.Since(started).Nanoseconds(), PromptEvalCount: list.Usage.PromptTokens, Adapter: list.Adapter,
	}
	for _, one := range list.Data {
		out.Embeddings = append(out.Embeddings, one.Embedding)
	}
	return sendJSON(c, http.StatusOK, out)
}
