package server

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/training"
)

// This file reads the method of a fine-tuning job and its hyperparameters.

// fineTuningMethods are the methods that a job may have.
var fineTuningMethods = []string{training.Supervised, training.DPO, training.Reinforcement}

// fineTuningConfig reads the hyperparameters, from their place under method or from the older one.
func (s *Server) fineTuningConfig(who caller, req *openapi.FineTuningRequest) (training.Config, error) {
	config, err := s.methodConfig(who, req)
	if err == nil && req.Seed != nil {
		if *req.Seed < 0 {
			return config, refuse(codeValue, "seed", "is %d, it must be 0 or more", *req.Seed)
		}
		config.Seed = *req.Seed
	}
	config.SaveEveryEpoch()
	return config, err
}

// methodConfig reads the method and its hyperparameters.
func (s *Server) methodConfig(who caller, req *openapi.FineTuningRequest) (training.Config, error) {
	kind, raw, param := training.Supervised, req.Hyperparameters, "hyperparameters"
	if jsonvalue.Kind(req.Method) != "null" {
		var settings json.RawMessage
		var err error
		if kind, settings, err = readMethod(req.Method); err != nil {
			return training.Config{}, err
		}
		if jsonvalue.Kind(settings) != "null" || kind == training.Reinforcement {
			if jsonvalue.Kind(raw) != "null" {
				return training.Config{}, refuse(codeValue, "hyperparameters", "are given together with those of method.%s, which have taken their place", kind)
			}
			raw, param = settings, "method."+kind+".hyperparameters"
		}
		if kind == training.Reinforcement {
			return s.reinforcementConfig(who, settings)
		}
	}
	h, err := hyperparameters(kind, raw, param)
	if err != nil {
		return training.Config{}, err
	}
	config, err := h.Config(s.model.Facts())
	var field *training.FieldError
	if errors.As(err, &field) {
		err = withParam(param+"."+field.Field, err)
	}
	return config, err
}

// readMethod reads the type of a method and its hyperparameters.
func readMethod(raw json.RawMessage) (kind string, settings json.RawMessage, err error) {
	var fields map[string]json.RawMessage
	if err := decodeField(raw, "method", &fields); err != nil {
		return "", nil, err
	}
	if jsonvalue.Kind(fields["type"]) == "null" {
		return "", nil, refuse(codeMissing, "method.type", "is missing")
	}
	if err := decodeField(fields["type"], "method.type", &kind); err != nil {
		return "", nil, err
	}
	if !slices.Contains(fineTuningMethods, kind) {
		return "", nil, refuse(codeUnsupported, "method.type", "is %q: the methods there are: %q", clipName(kind), fineTuningMethods)
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if name != "type" && name != kind && jsonvalue.Kind(fields[name]) != "null" {
			return "", nil, refuse(codeUnsupported, "method."+clipName(name), "is not a field of a method of type %s", kind)
		}
	}
	if kind == training.Reinforcement {
		return kind, fields[kind], nil // it has more than hyperparameters
	}
	var of struct {
		Hyperparameters json.RawMessage `json:"hyperparameters"`
	}
	if jsonvalue.Kind(fields[kind]) == "null" {
		return kind, nil, nil
	}
	if err := decodeField(fields[kind], "method."+kind, &of); err != nil {
		return "", nil, err
	}
	if name := jsonvalue.Unknown(fields[kind], &of); name != "" {
		return "", nil, refuse(codeUnsupported, "method."+kind+"."+clipName(name), "is not a field of this request")
	}
	return kind, of.Hyperparameters, nil
}

// hyperparameters reads OpenAI's of a method, and refuses others by name.
func hyperparameters(kind string, raw json.RawMessage, param string) (h training.Hyperparameters, err error) {
	h.Method = kind
	if jsonvalue.Kind(raw) == "null" {
		return h, nil
	}
	var fields map[string]json.RawMessage
	if err := decodeField(raw, param, &fields); err != nil {
		return h, err
	}
	known := map[string]*training.Auto{"n_epochs": &h.Epochs, "batch_size": &h.Batch, "learning_rate_multiplier": &h.RateMultiplier}
	if kind == training.DPO {
		known["beta"] = &h.Beta
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		value, ok := known[name]
		if !ok {
			return h, refuse(codeUnsupported, param+"."+name, "is not known here; POST /adapters/train takes PEFT's and TRL's names")
		}
		if err := json.Unmarshal(fields[name], value); err != nil {
			return h, refuse(codeValue, param+"."+name, "is %s: %v", fields[name], err)
		}
	}
	return h, nil
}
