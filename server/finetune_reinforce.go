package server

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/training"
)

// This file is the method reinforcement of OpenAI's jobs.

// reinforcementField is where its settings stand.
const reinforcementField = "method.reinforcement"

// reinforcementConfig reads a method of the type reinforcement.
func (s *Server) reinforcementConfig(who caller, raw json.RawMessage) (training.Config, error) {
	var of struct {
		Grader          json.RawMessage `json:"grader"`
		ResponseFormat  json.RawMessage `json:"response_format"`
		Hyperparameters json.RawMessage `json:"hyperparameters"`
	}
	if jsonvalue.Kind(raw) == "null" {
		return training.Config{}, refuse(codeMissing, reinforcementField, "is missing")
	}
	if err := decodeField(raw, reinforcementField, &of); err != nil {
		return training.Config{}, err
	}
	if name := jsonvalue.Unknown(raw, &of); name != "" {
		return training.Config{}, refuse(codeUnsupported, reinforcementField+"."+clipName(name), "is not a field of this request")
	}
	if _, err := s.parseGrader(who, of.Grader, reinforcementField+".grader"); err != nil {
		return training.Config{}, err
	}
	h, err := reinforcementParameters(of.Hyperparameters)
	if err != nil {
		return training.Config{}, err
	}
	if jsonvalue.Kind(of.ResponseFormat) == "null" {
		of.ResponseFormat = nil
	}
	config, err := h.Config(s.model.Facts(), of.Grader, of.ResponseFormat)
	place := reinforcementField + ".hyperparameters."
	if err == nil {
		err, place = config.CheckAnswerFormat(), reinforcementField+"."
	}
	var field *training.FieldError
	if errors.As(err, &field) {
		err = withParam(place+field.Field, err)
	}
	return config, err
}

// reinforcementParameters reads the hyperparameters.
func reinforcementParameters(raw json.RawMessage) (h training.ReinforcementHyperparameters, err error) {
	const param = reinforcementField + ".hyperparameters"
	if jsonvalue.Kind(raw) == "null" {
		return h, nil
	}
	var fields map[string]json.RawMessage
	if err := decodeField(raw, param, &fields); err != nil {
		return h, err
	}
	known := map[string]*training.Auto{
		"n_epochs": &h.Epochs, "batch_size": &h.Batch, "learning_rate_multiplier": &h.RateMultiplier,
		"compute_multiplier": &h.ComputeMultiplier, "eval_interval": &h.EvalInterval, "eval_samples": &h.EvalSamples,
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		value, ok := known[name]
		switch {
		case ok:
			if err := json.Unmarshal(fields[name], value); err != nil {
				return h, refuse(codeValue, param+"."+name, "is %s: %v", jsonvalue.Clip(fields[name]), err)
			}
		case name == "reasoning_effort":
			if jsonvalue.Kind(fields[name]) == "null" {
				continue
			}
			if err := decodeField(fields[name], param+"."+name, &h.ReasoningEffort); err != nil {
				return h, err
			}
		default:
			return h, refuse(codeUnsupported, param+"."+clipName(name), "is not known here; POST /adapters/train takes PEFT's and TRL's names")
		}
	}
	return h, nil
}

// reinforcementOf is the method of a job in OpenAI's shape.
func (s *Server) reinforcementOf(c *training.Config) *openapi.FineTuningReinforcement {
	out := &openapi.FineTuningReinforcement{
		Grader: c.Reward, Hyperparameters: openapi.FineTunedReinforcement{
			NEpochs: c.Epochs, BatchSize: c.Batch * c.Accumulation / max(1, c.Generations),
			LearningRateMultiplier: c.LearningRate / c.UsualRate(s.model.Facts()),
			ComputeMultiplier:      math.Round(1000*float64(c.Generations)/float64(training.Defaults().Generations)) / 1000,
			EvalSamples:            c.EvalGenerations, ReasoningEffort: cmp.Or(c.Effort, "default"), EvalInterval: json.RawMessage(`"auto"`),
		},
	}
	if c.EvalStrategy == training.EverySteps {
		out.Hyperparameters.EvalInterval = appendJSON(nil, c.EvalSteps)
	}
	if len(c.ResponseFormat) > 0 {
		out.ResponseFormat = &c.ResponseFormat
	}
	return out
}
