package server

import (
	"math/rand/v2"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/tinker"
)

// This file is the calls of models.

// tinkerRank is the rank of a model whose request has no lora_config.
const tinkerRank = 32

// TinkerCreateModel begins an adapter.
func (s *Server) TinkerCreateModel(c *fiber.Ctx) error {
	var body openapi.TinkerModelRequest
	t, who, err := s.tinkerCall(c, &body)
	if err != nil {
		return err
	}
	if err := checkOptimizer("optimizer_config", body.OptimizerConfig); err != nil {
		return err
	}
	config := tinker.Config{Rank: tinkerRank, Seed: rand.Uint64(), Attn: true, MLP: true, Unembed: true}
	if l := body.LoraConfig; l != nil {
		config.Rank, config.Attn, config.MLP, config.Unembed = l.Rank, flag(l.TrainAttn, true), flag(l.TrainMlp, true), flag(l.TrainUnembed, true)
		if l.Seed != nil {
			config.Seed = uint64(*l.Seed)
		}
	}
	f, err := t.CreateModel(who, body.SessionId, body.ModelSeqId, body.BaseModel, config, tinkerMetadata(body.UserMetadata))
	return sendFuture(c, f, err)
}

// checkOptimizer refuses optimizers that there are not.
func checkOptimizer(field string, o *map[string]any) error {
	if o == nil {
		return nil
	}
	if kind := (*o)["type"]; kind != nil && kind != "adamw" {
		return refuse(codeUnsupported, field, "has the type %.60v, the optimizer is adamw", kind)
	}
	return nil
}

// TinkerGetInfo describes a model.
func (s *Server) TinkerGetInfo(c *fiber.Ctx) error {
	var body openapi.TinkerModelId
	t, who, err := s.tinkerCall(c, &body)
	if err != nil {
		return err
	}
	i, err := t.Info(who, body.ModelId)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, openapi.TinkerModelFacts{
		Type: "get_info", ModelId: i.ID, IsLora: true, LoraRank: i.Config.Rank, ModelName: s.name,
		ModelData: openapi.TinkerBase{Arch: s.model.Facts().Architecture, ModelName: s.name, TokenizerId: s.name},
	})
}

// TinkerUnloadModel ends a model.
func (s *Server) TinkerUnloadModel(c *fiber.Ctx) error {
	var body openapi.TinkerModelId
	t, who, err := s.tinkerCall(c, &body)
	if err != nil {
		return err
	}
	f, err := t.UnloadModel(who, body.ModelId)
	return sendFuture(c, f, err)
}

// TinkerForwardBackward computes a loss and its gradients.
func (s *Server) TinkerForwardBackward(c *fiber.Ctx) error {
	t, err := s.tinkerService()
	if err != nil {
		return err
	}
	body, done, err := s.readBody(c, s.maxBody)
	if err != nil {
		return err
	}
	model, seq, r, err := readForwardBackward(body)
	done() // what is needed of it has been copied
	if err != nil {
		return err
	}
	f, err := t.ForwardBackward(s.tinkerCaller(c), model, seq, r)
	return sendFuture(c, f, err)
}

// TinkerOptimStep does a step of Adam.
func (s *Server) TinkerOptimStep(c *fiber.Ctx) error {
	var body openapi.TinkerOptimRequest
	t, who, err := s.tinkerCall(c, &body)
	if err != nil {
		return err
	}
	if body.OptimizerParams != nil {
		return refuse(codeUnsupported, "optimizer_params", "are of an optimizer that there is not: adam_params are read")
	}
	var p openapi.TinkerAdam
	if body.AdamParams != nil {
		p = *body.AdamParams
	}
	number := func(v *float64, standard float32) float32 {
		if v == nil {
			return standard
		}
		return float32(*v)
	}
	f, err := t.OptimStep(who, body.ModelId, body.SeqId, runtime.TrainUpdate{
		Rate: number(p.LearningRate, 1e-4), Beta1: number(p.Beta1, 0.9), Beta2: number(p.Beta2, 0.95), Epsilon: number(p.Eps, 1e-12),
		WeightDecay: number(p.WeightDecay, 0), Clip: number(p.GradClipNorm, 0),
	})
	return sendFuture(c, f, err)
}

// TinkerSaveWeights keeps a checkpoint that training can go on from.
func (s *Server) TinkerSaveWeights(c *fiber.Ctx) error {
	var body openapi.TinkerSaveRequest
	t, who, err := s.tinkerCall(c, &body)
	if err != nil {
		return err
	}
	f, err := t.Save(who, body.ModelId, body.SeqId, &tinker.Save{
		Kind: tinker.KindTraining, Name: text(body.Path), TTL: body.TtlSeconds, Overwrite: flag(body.Overwrite, false), Metadata: tinkerMetadata(body.UserMetadata),
	})
	return sendFuture(c, f, err)
}

// TinkerSaveWeightsExternal keeps an adapter to be used elsewhere.
func (s *Server) TinkerSaveWeightsExternal(c *fiber.Ctx) error {
	var body openapi.TinkerSaveExternalRequest
	t, who, err := s.tinkerCall(c, &body)
	if err != nil {
		return err
	}
	if body.AgeEncryptionRecipients != nil && len(*body.AgeEncryptionRecipients) > 0 {
		return refuse(codeUnsupported, "age_encryption_recipients", "are not read: the files lie on this server, and are not encrypted")
	}
	f, err := t.SaveExternal(who, body.ModelId, body.SeqId, &tinker.Save{Kind: tinker.KindExternal, Name: body.Path, TTL: body.TtlSeconds})
	return sendFuture(c, f, err)
}

// TinkerSaveWeightsForSampler makes weights ready to be sampled from.
func (s *Server) TinkerSaveWeightsForSampler(c *fiber.Ctx) error {
	var body openapi.TinkerSaveSamplerRequest
	t, who, err := s.tinkerCall(c, &body)
	if err != nil {
		return err
	}
	sampler := int64(-1)
	if body.SamplingSessionSeqId != nil {
		sampler = *body.SamplingSessionSeqId
	}
	f, err := t.SaveForSampler(who, body.ModelId, body.SeqId, &tinker.Save{
		Kind: tinker.KindSampler, Name: text(body.Path), TTL: body.TtlSeconds, Overwrite: flag(body.Overwrite, false), Metadata: tinkerMetadata(body.UserMetadata),
	}, sampler)
	return sendFuture(c, f, err)
}

// TinkerLoadWeights gives a model, or a new one, the weights of a checkpoint.
func (s *Server) TinkerLoadWeights(c *fiber.Ctx) error {
	var body openapi.TinkerLoadRequest
	t, who, err := s.tinkerCall(c, &body)
	if err != nil {
		return err
	}
	if text(body.WeightsAccessToken) != "" {
		return refuse(codeUnsupported, "weights_access_token", "is not read: a key sees its own checkpoints, and those that were published")
	}
	if err := checkOptimizer("optimizer_config", body.OptimizerConfig); err != nil {
		return err
	}
	load := &tinker.Load{Path: body.Path, Optimizer: flag(body.Optimizer, false)}
	switch {
	case body.ModelId != nil && body.SessionId != nil:
		return refuse(codeValue, "session_id", "and model_id are given: model_id is a model that is there, session_id is for a new one")
	case body.ModelId != nil && body.SeqId != nil:
		f, err := t.Load(who, *body.ModelId, *body.SeqId, load)
		return sendFuture(c, f, err)
	case body.SessionId != nil && body.ModelSeqId != nil:
		f, err := t.CreateFrom(who, *body.SessionId, *body.ModelSeqId, text(body.BaseModel), load, tinkerMetadata(body.UserMetadata))
		return sendFuture(c, f, err)
	}
	return refuse(codeMissing, "model_id", "with seq_id is missing, or session_id with model_seq_id for a new model")
}
