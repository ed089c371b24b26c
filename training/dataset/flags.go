package dataset

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// This file reads what a message or a line says about whether it is to be learned.

// learnFlags are the keys under which programs write whether a message counts: OpenAI and Mistral weight, LLaMA-Factory
// loss_weight and loss, ms-swift loss and loss_scale, axolotl training and train, XTuner output_with_loss.
var learnFlags = []string{
	"weight", "loss_weight", "loss_scale", "loss", "train", "training", "trainable", "learn", "output_with_loss",
	"is_trainable", "train_on", "calculate_loss", "compute_loss", "step_loss_mask",
}

// leaveFlags are the keys that say the opposite, and count where they are true or false, 1 or 0.
var leaveFlags = []string{"ignore", "skip", "no_loss", "exclude"}

// ambiguousFlags are keys that also choose what is learned, in ways that differ between programs or cannot be followed.
var ambiguousFlags = map[string]string{
	"mask":            "whether a masked message is learned differs between programs: say weight, 0 or 1, instead",
	"masked":          "whether a masked message is learned differs between programs: say weight, 0 or 1, instead",
	"loss_mask":       "parts of a message cannot be left out: say weight, 0 or 1, for the whole",
	"train_detail":    "parts of a message cannot be left out: say weight, 0 or 1, for the whole",
	"training_detail": "parts of a message cannot be left out: say weight, 0 or 1, for the whole",
}

// lineFlags are the keys that count at the level of a line. Numbers other than 0 and 1 are refused for the first, which
// are weights, and not looked at for the others, which a data set may use for measurements.
var (
	lineWeights = []string{"weight", "loss_weight", "sample_weight"}
	lineFlags   = []string{"loss", "train", "training", "trainable", "learn"}
)

// flagValue reads true, false, 1 or 0. ok is false for anything else.
func flagValue(raw json.RawMessage) (on, ok bool) {
	if json.Unmarshal(raw, &on) == nil {
		return on, true
	}
	var n float64
	if json.Unmarshal(raw, &n) != nil || n != 0 && n != 1 {
		return false, false
	}
	return n == 1, true
}

// readFlags takes what the message says about being learned out of its fields.
func (t *Turn) readFlags(fields map[string]json.RawMessage) error {
	for _, name := range slices.Sorted(maps.Keys(ambiguousFlags)) {
		if !isNull(fields[name]) {
			return badLine("has a %s of %s: %s", name, jsonvalue.Clip(fields[name]), ambiguousFlags[name])
		}
		delete(fields, name)
	}
	for _, name := range leaveFlags {
		raw := fields[name]
		delete(fields, name)
		if isNull(raw) {
			continue
		}
		leave, ok := flagValue(raw)
		if !ok {
			return badFlag(name, raw)
		}
		if leave {
			t.Learn, t.Excluded = false, true
		}
	}
	for _, name := range learnFlags {
		raw := fields[name]
		delete(fields, name)
		if isNull(raw) {
			continue
		}
		on, ok := flagValue(raw)
		switch {
		case !ok:
			return badFlag(name, raw)
		case on && t.Message.Role != assistant:
			return badLine("has a %s of %s and is the %s's: only the assistant's messages are learned, or all with train_on_inputs",
				name, raw, t.Message.Role)
		case !on:
			t.Learn, t.Excluded = false, true
		}
	}
	return nil
}

// badFlag is the error of a flag that is neither on nor off.
func badFlag(name string, raw json.RawMessage) error {
	return badLine("has a %s of %s: 0 or 1, or false or true, is expected", name, jsonvalue.Clip(raw))
}

// checkPartFlags returns a LineError where a part of a content says that it is not to be learned: a message is learned as a
// whole, or not at all. The error continues "content[2]".
func checkPartFlags(fields map[string]json.RawMessage) error {
	for _, list := range []struct {
		names []string
		on    bool // what says that the part is learned
	}{{learnFlags, true}, {leaveFlags, false}, {slices.Sorted(maps.Keys(ambiguousFlags)), false}} {
		for _, name := range list.names {
			raw := fields[name]
			if on, ok := flagValue(raw); isNull(raw) || ok && on == list.on {
				continue
			}
			return badLine("has a %s of %s: parts of a message cannot be left out: say weight, 0 or 1, for the whole", name, jsonvalue.Clip(raw))
		}
	}
	return nil
}

// lineFlag reads a flag of a line: false or true, also as a word, and 0 or 1 for flags that cannot be measurements.
func lineFlag(name string, raw json.RawMessage) (on, ok bool) {
	switch jsonvalue.Kind(raw) {
	case "boolean":
		return flagValue(raw)
	case "number":
		if name != "loss" {
			return flagValue(raw)
		}
	case "string":
		word, err := text(raw, name)
		if err == nil && (strings.EqualFold(word, "true") || strings.EqualFold(word, "false")) {
			return strings.EqualFold(word, "true"), true
		}
	}
	return false, false
}

// lineIsSkipped reports whether a line says that nothing of it is to be learned.
func lineIsSkipped(fields map[string]json.RawMessage) (skip bool, err error) {
	for _, name := range lineWeights {
		raw := fields[name]
		if isNull(raw) {
			continue
		}
		on, ok := flagValue(raw)
		if !ok {
			return false, badLine("has a %s of %s: 0 or 1 is expected", name, jsonvalue.Clip(raw))
		}
		skip = skip || !on
	}
	for _, name := range lineFlags {
		on, ok := lineFlag(name, fields[name])
		skip = skip || ok && !on
	}
	for _, name := range leaveFlags {
		leave, ok := flagValue(fields[name])
		skip = skip || ok && leave && jsonvalue.Kind(fields[name]) == "boolean"
	}
	return skip, nil
}
