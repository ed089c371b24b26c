package peft

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/gitlfs"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file reads PEFT's adapter_config.json. Every field of LoraConfig that changes the function an adapter
// computes is honoured or refused by its name; those that only matter in training are kept and not looked at.
// Source: github.com/huggingface/peft, src/peft/tuners/lora/config.py.

// The names PEFT gives an adapter's two files.
const (
	ConfigFile  = "adapter_config.json"
	TensorsFile = "adapter_model.safetensors"
)

// maxConfig bounds adapter_config.json.
const MaxConfig = 1 << 20

// maxRank is the largest rank that is served: the kernels pack no larger one.
const MaxRank = 512

// config is an adapter_config.json that has been read and can be honoured.
type config struct {
	members []member // every field of the file, sorted by name

	rank         int
	alpha        float64
	rsLoRA       bool
	dora         bool
	rankPattern  patterns[int]
	alphaPattern patterns[float64]
	targets      targets

	loraBias   bool                       // lora_B has a bias
	bias       bool                       // biases of the base were trained
	saved      []string                   // paths of modules_to_save
	savedNorms []string                   // names of norms in it, which paths end with
	tokens     map[string][]runtime.Token // trainable_token_indices by path
	tie        bool                       // ensure_weight_tying

	invocation []runtime.Token // of an activated LoRA; nil: it acts on every token
}

// trainingOnly are the fields that say how an adapter was made or is stored; they do not change what it computes.
var trainingOnly = map[string]bool{
	"auto_mapping": true, "base_model_name_or_path": true, "revision": true, "task_type": true,
	"inference_mode": true, "peft_version": true, "lora_dropout": true, "loftq_config": true, "eva_config": true,
	"corda_config": true, "lora_ga_config": true, "megatron_config": true, "megatron_core": true,
	"runtime_config": true, "qalora_group_size": true, "merge_weights": true,
	"velora_config": true,

	"swift_type": true, "lora_dtype": true, "lorap_lr_ratio": true, "lorap_emb_lr": true, // of ms-swift
}

// refused are the fields that change the function in a way we do not serve, unless they are neutral, with
// what to say of them. Fields that are in no table are refused too.
var refused = map[string]string{
	"target_parameters": "LoRA on bare parameters is not supported",
	"use_qalora":        "QA-LoRA's pooled inputs are not supported",
	"layer_replication": "replicated layers are not supported",
	"fan_in_fan_out":    "transposed weights are not supported",
	"arrow_config":      "routing between adapters is not supported",
	"use_bdlora":        "block-diagonal LoRA is not supported",
	"kasa_config":       "KaSA cuts the base's weights and puts a diagonal between A and B, which is not supported",
	"monteclora_config": "MonteCLoRA's samplers are not supported",
}

// parseConfig reads adapter_config.json. The error wraps ErrFormat where it cannot be read, and
// ErrUnsupported, with the field's name, where it asks for what we cannot serve exactly.
func parseConfig(data []byte) (*config, error) {
	if len(data) > MaxConfig {
		return nil, fmt.Errorf("%w: %s is longer than %d bytes", ErrFormat, ConfigFile, MaxConfig)
	}
	if err := gitlfs.Check(data); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFormat, ConfigFile, err)
	}
	members, err := parseObject(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFormat, ConfigFile, err)
	}
	c := &config{members: members}
	slices.SortFunc(c.members, func(a, b member) int { return strings.Compare(a.key, b.key) })
	fields := make(map[string]json.RawMessage, len(members))
	for _, m := range members {
		fields[m.key] = m.value
	}
	if string(fields["peft_type"]) != `"LORA"` {
		return nil, fmt.Errorf("%w: %s: peft_type is %s, only \"LORA\" is served", ErrUnsupported, ConfigFile,
			cmp.Or(string(fields["peft_type"]), "missing"))
	}
	var x expressions
	for _, m := range c.members {
		if err := c.field(m, &x); err != nil {
			return nil, fmt.Errorf("%w: %s: %s %w", cmp.Or(kindOf(err), ErrUnsupported), ConfigFile, m.key, err)
		}
	}
	for _, name := range []string{"r", "lora_alpha", "target_modules"} {
		if isNeutral(fields[name]) {
			return nil, fmt.Errorf("%w: %s: %s is missing", ErrFormat, ConfigFile, name)
		}
	}
	return c, c.checkActivated()
}

// wrongValue marks a field whose value is not what the field holds, as against one we do not support.
type wrongValue struct{ want string }

func (e *wrongValue) Error() string { return "is not " + e.want }

// kindOf returns ErrFormat for a wrong value, nil for anything else.
func kindOf(err error) error {
	var w *wrongValue
	if errors.As(err, &w) {
		return ErrFormat
	}
	return nil
}

// field reads one field. Errors continue the field's name.
func (c *config) field(m member, x *expressions) (err error) {
	switch m.key {
	case "peft_type":
	case "r":
		c.rank, err = parseRank(m.value)
	case "lora_alpha":
		c.alpha, err = parseAlpha(m.value)
	case "use_rslora":
		c.rsLoRA, err = parseAs[bool](m.value, "true or false")
	case "use_dora":
		c.dora, err = parseAs[bool](m.value, "true or false")
	case "rank_pattern":
		c.rankPattern, err = parsePatterns(m.value, x, parseRank)
	case "alpha_pattern":
		c.alphaPattern, err = parsePatterns(m.value, x, parseAlpha)
	case "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern":
		err = c.targets.field(m, x)
	case "bias":
		var word string
		if word, err = parseAs[string](m.value, "none, lora_only or all"); err == nil && !slices.Contains([]string{"", "none", "lora_only", "all"}, word) {
			err = &wrongValue{"none, lora_only or all"}
		}
		c.bias = word == "lora_only" || word == "all"
	case "lora_bias":
		c.loraBias, err = parseAs[bool](m.value, "true or false")
	case "ensure_weight_tying":
		c.tie, err = parseAs[bool](m.value, "true or false")
	case "modules_to_save":
		c.saved, c.savedNorms, err = parseSaved(m.value)
	case "trainable_token_indices":
		c.tokens, err = parseTokens(m.value)
	case invocationField:
		c.invocation, err = parseInvocation(m.value)
	case "init_lora_weights":
		err = checkInit(m.value)
	default:
		if isNeutral(m.value) || trainingOnly[m.key] {
			return nil
		}
		if why, ok := refused[m.key]; ok {
			return fmt.Errorf("is %s: %s", clip(m.value), why)
		}
		return fmt.Errorf("is %s: the field is not known, and may change what the adapter computes", clip(m.value))
	}
	return err
}

// initName are the initialisations that take part of the base's weights away: PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA.
var initName = regexp.MustCompile(`^"(pissa|pissa_niter_\d+|olora|corda|loftq|lora_ga)"$`)

// checkInit refuses the initialisations that change the base's own weights: the adapter then belongs to that
// changed base.
func checkInit(v json.RawMessage) error {
	switch strings.ToLower(string(v)) {
	case "null", "true", "false", `"gaussian"`, `"orthogonal"`, `"eva"`, `"mica"`:
		return nil
	}
	if !initName.MatchString(strings.ToLower(string(v))) {
		return fmt.Errorf("is %s: the value is not known, and may change the base model's weights", clip(v))
	}
	return fmt.Errorf("is %s: it changes the base model's weights, so the adapter fits only that changed base; "+
		"save it with PEFT's path_initial_model_for_weight_conversion to make a plain LoRA of it", clip(v))
}

// isNeutral reports whether a field's value is absent or says "not used": null, false, 0, "", [] or {}.
func isNeutral(v json.RawMessage) bool {
	switch string(bytes.Join(bytes.Fields(v), nil)) {
	case "", "null", "false", "0", "0.0", `""`, "[]", "{}":
		return true
	}
	return false
}

func parseAs[T any](v json.RawMessage, want string) (T, error) {
	var t T
	if err := json.Unmarshal(v, &t); err != nil {
		return t, &wrongValue{want}
	}
	return t, nil
}

func parseRank(v json.RawMessage) (int, error) {
	r, err := parseAs[int](v, fmt.Sprintf("a whole number from 1 to %d", MaxRank))
	if err == nil && (r < 1 || r > MaxRank) {
		err = &wrongValue{fmt.Sprintf("a whole number from 1 to %d", MaxRank)}
	}
	return r, err
}

func parseAlpha(v json.RawMessage) (float64, error) {
	const want = "a number other than 0"
	a, err := parseAs[float64](v, want)
	if err == nil && (a == 0 || math.IsInf(float64(float32(a)), 0)) {
		err = &wrongValue{want}
	}
	return a, err
}

// clip shortens a value for an error message.
func clip(v json.RawMessage) string {
	const most = 60
	if len(v) <= most {
		return string(v)
	}
	return strings.ToValidUTF8(string(v[:most]), "") + "..."
}

// scale returns what B*A is multiplied with in the module.
func (c *config) scale(module string) float32 {
	r := float64(c.rankOf(module))
	if c.rsLoRA {
		r = math.Sqrt(r)
	}
	return float32(c.alphaPattern.find(module, c.alpha) / r)
}

// rankOf returns the rank that the module has.
func (c *config) rankOf(module string) int { return c.rankPattern.find(module, c.rank) }

// encode returns the configuration in canonical form: fields sorted, the members of patterns in their order,
// which decides between them. Equal configurations give equal bytes.
func (c *config) encode() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range c.members {
		key, err := json.Marshal(m.key)
		if err != nil {
			return nil, err
		}
		value := m.value
		var list []string // PEFT writes a Python set, whose order is chance
		if json.Unmarshal(value, &list) == nil && list != nil && m.key == "target_modules" {
			slices.Sort(list)
			if value, err = json.Marshal(list); err != nil {
				return nil, err
			}
		}
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%s:%s", key, value)
	}
	b.WriteByte('}')
	var out bytes.Buffer
	if err := json.Indent(&out, b.Bytes(), "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}
