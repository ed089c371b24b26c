package training

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/training/dataset"
)

// Config is what a job is trained with, under the names that PEFT and TRL give its fields.
type Config struct {
	start *Start // the adapter that is trained on from, whose modules and norms are trained; nil: the fields say which

	Method string `json:"method"` // Supervised, or another of the methods

	// The adapter.
	Rank           int     `json:"r"`
	Alpha          float64 `json:"lora_alpha"`          // the update is scaled by lora_alpha / r
	RSLoRA         bool    `json:"use_rslora"`          // by lora_alpha / sqrt(r) instead
	DoRA           bool    `json:"use_dora"`            // with a magnitude vector for every module
	Dropout        float64 `json:"lora_dropout"`        // of the input of A, in [0, 1)
	TargetModules  Names   `json:"target_modules"`      // "q_proj", ..., "embed_tokens", "lm_head"; "all-linear"
	ExcludeModules Names   `json:"exclude_modules"`     // of them, those to leave out
	Layers         Layers  `json:"layers_to_transform"` // none: all
	// ModulesToSave are norms that train whole, by the ends of their paths as in PEFT: "input_layernorm", "norm".
	ModulesToSave []string `json:"modules_to_save,omitempty"`
	// An activated LoRA acts from the last occurrence of these tokens on: the tokens, or their text.
	Invocation       []runtime.Token `json:"alora_invocation_tokens,omitempty"`
	InvocationString string          `json:"invocation_string,omitempty"`
	RankPattern      json.RawMessage `json:"rank_pattern,omitempty"`
	AlphaPattern     json.RawMessage `json:"alpha_pattern,omitempty"`
	Init             Init            `json:"init_lora_weights"`   // how A and B begin
	NEFTune          float64         `json:"neftune_noise_alpha"` // noise on the embeddings in training; 0: none

	// The data.
	MaxLength       int     `json:"max_length"` // tokens of one example; 0: what the base was trained on, at most 2048
	Truncation      string  `json:"truncation"` // what becomes of longer ones: Truncate or Drop
	Packing         bool    `json:"packing"`    // a unit is as many examples as fit into max_length, not one
	TrainOnInputs   bool    `json:"train_on_inputs"`
	ValidationSplit float64 `json:"validation_split"` // the share of the examples held back; no validation file then

	// The optimizer.
	LearningRate float64 `json:"learning_rate"`     // 0: what suits the base, see UsualRate
	LoRAPlus     float64 `json:"loraplus_lr_ratio"` // the rate of B over that of A; 0: 1
	Scheduler    string  `json:"lr_scheduler_type"` // Linear, Cosine or Constant
	WarmupRatio  float64 `json:"warmup_ratio"`      // of the steps
	WarmupSteps  int     `json:"warmup_steps"`      // before warmup_ratio where it is not 0
	WeightDecay  float64 `json:"weight_decay"`
	Beta1        float64 `json:"adam_beta1"`
	Beta2        float64 `json:"adam_beta2"`
	Epsilon      float64 `json:"adam_epsilon"`
	MaxGradNorm  float64 `json:"max_grad_norm"` // 0: gradients are not clipped

	// The run.
	Epochs       float64 `json:"num_train_epochs"`
	MaxSteps     int     `json:"max_steps"` // before num_train_epochs where it is above 0
	Batch        int     `json:"per_device_train_batch_size"`
	Accumulation int     `json:"gradient_accumulation_steps"`
	Seed         int64   `json:"seed"`
	EvalStrategy string  `json:"eval_strategy"`           // when the validation data is looked at: Never, EverySteps or EveryEpoch
	EvalSteps    int     `json:"eval_steps"`              // of EverySteps
	Patience     int     `json:"early_stopping_patience"` // evaluations without a better loss that end the run; 0: none
	SaveStrategy string  `json:"save_strategy"`           // when a checkpoint is published: Never, EverySteps or EveryEpoch
	SaveSteps    int     `json:"save_steps"`              // of EverySteps; 0: none are published
	SaveTotal    int     `json:"save_total_limit"`        // checkpoints that are kept for serving

	// The losses of other methods than Supervised.
	LossType          string   `json:"loss_type"`          // of the method; "": its own
	Beta              *float64 `json:"beta,omitempty"`     // how far the adapter may go from the reference model; nil: as suits the loss
	LabelSmoothing    float64  `json:"label_smoothing"`    // of Sigmoid and SimPO: the share of pairs that are the wrong way round
	SimPOGamma        float64  `json:"simpo_gamma"`        // of SimPO: the margin
	DesirableWeight   float64  `json:"desirable_weight"`   // of KTO
	UndesirableWeight float64  `json:"undesirable_weight"` // of KTO

	// The method reinforcement.
	Reward          json.RawMessage `json:"reward,omitempty"`          // the grader, see package graders
	ResponseFormat  json.RawMessage `json:"response_format,omitempty"` // what sampled answers are held to, as in chat requests
	Generations     int             `json:"num_generations"`           // answers to each prompt: a group
	EvalGenerations int             `json:"num_generations_eval"`      // the same of an evaluation; 1: the likeliest answer
	MaxCompletion   int             `json:"max_completion_length"`     // tokens of an answer
	Temperature     float64         `json:"temperature"`               // that answers are sampled with
	TopP            float64         `json:"top_p"`                     // likewise
	ClipLow         float64         `json:"epsilon"`                   // how far below 1 a token's importance ratio may fall
	ClipHigh        float64         `json:"epsilon_high"`              // and rise above it; 0: epsilon
	Iterations      int             `json:"num_iterations"`            // updates that learn from the same answers
	Effort          string          `json:"reasoning_effort"`          // that prompts ask for, a variable of the template; "default": none
}

// The values of Config's fields that are words.
const (
	AllLinear = "all-linear"

	Truncate = "truncate"
	Drop     = "drop"

	Linear   = "linear"
	Cosine   = "cosine"
	Constant = "constant"

	Never      = "no"
	EverySteps = "steps"
	EveryEpoch = "epoch"
)

// Bounds against typing errors that would ask for a run without end.
const (
	maxRank     = 512 // as adapters are kept
	maxBatch    = 4096
	usualLength = 2048

	maxCheckpoints = 100 // each is an adapter on disk

	// What is computed with is a 32-bit number: smaller ones would be 0 there, with another meaning.
	minFloat = 1e-37
	minAlpha = 1e-30 // divided by the rank, and written to the adapter's configuration
)

// Defaults returns the configuration of a job that sets no field. Every default is stated here and nowhere else.
func Defaults() Config {
	return Config{
		Method: Supervised,
		Rank:   16, Alpha: 16, TargetModules: Names{AllLinear},
		Truncation: Truncate,
		Scheduler:  Linear, WarmupRatio: 0.05, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, MaxGradNorm: 1,
		Epochs: 3, Batch: 8, Accumulation: 1, Seed: 42, EvalStrategy: EveryEpoch, EvalSteps: 50,
		SaveStrategy: EverySteps, SaveSteps: 100, SaveTotal: 3,
		SimPOGamma: 0.5, DesirableWeight: 1, UndesirableWeight: 1,
		Generations: 8, EvalGenerations: 1, MaxCompletion: 256, Temperature: 1, TopP: 1, ClipLow: 0.2, Iterations: 1, Effort: defaultEffort,
	}
}

// Validate returns a FieldError for the first field whose value is out of range.
func (c *Config) Validate() error {
	for _, check := range []func() *FieldError{c.checkAdapter, c.checkData, c.checkOptimizer, c.checkRun, c.checkPreference, c.checkLossSettings, c.checkReinforcement, c.checkUnused} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// rule is a condition on a field and what the error says where it does not hold.
type rule struct {
	ok    bool
	field string
	value any
	want  string
}

func firstBroken(rules []rule) *FieldError {
	for _, r := range rules {
		if !r.ok {
			return &FieldError{Field: r.field, Reason: fmt.Sprintf("is %v: %s is expected", r.value, r.want)}
		}
	}
	return nil
}

// unit reports whether x lies in [0, 1), also as the 32-bit number that is computed with.
func unit(x float64) bool { return x >= 0 && float32(x) < 1 }

func (c *Config) checkAdapter() *FieldError {
	return firstBroken([]rule{
		// A method that is the name of a loss was replaced, unless another loss stands beside it.
		{lossNames[c.Method] == "", "method", quoted(c.Method) + " beside the loss_type " + quoted(c.LossType), "one of the two"},
		{methodNames[c.Method] != "", "method", quoted(c.Method), "one of " + strings.Join(slices.Sorted(maps.Keys(methodNames)), ", ") + ", ipo, orpo, simpo, kto"},
		{c.Rank >= 1 && c.Rank <= maxRank, "r", c.Rank, fmt.Sprintf("a whole number from 1 to %d", maxRank)},
		{c.Alpha >= minAlpha && c.Alpha <= math.MaxFloat32, "lora_alpha", c.Alpha, fmt.Sprintf("a number from %g", minAlpha)},
		{c.NEFTune >= 0 && c.NEFTune <= 1e4, "neftune_noise_alpha", c.NEFTune, "a number from 0 to 10000"},
		{c.Init.known(), "init_lora_weights", quoted(string(c.Init)), initNames},
		{unit(c.Dropout), "lora_dropout", c.Dropout, "a number from 0 to less than 1"},
		{c.Invocation == nil || len(c.Invocation) > 0, "alora_invocation_tokens", "empty", "a list of tokens, or null for an adapter that acts on every token,"},
		{len(c.TargetModules) > 0, "target_modules", "empty", `a list of module names or "all-linear"`},
	})
}

func (c *Config) checkData() *FieldError {
	return firstBroken([]rule{
		{c.MaxLength == 0 || c.MaxLength >= 2, "max_length", c.MaxLength, "2 or more, or 0 for the base's own"},
		{oneOf(c.Truncation, Truncate, Drop), "truncation", quoted(c.Truncation), `"truncate" or "drop"`},
		{c.ValidationSplit >= 0 && c.ValidationSplit <= 0.5, "validation_split", c.ValidationSplit, "a share from 0 to 0.5"},
	})
}

func (c *Config) checkOptimizer() *FieldError {
	return firstBroken([]rule{
		{c.LearningRate >= 0 && c.LearningRate <= 1, "learning_rate", c.LearningRate, "a number above 0, at most 1, or 0 for what suits the base"},
		{c.LoRAPlus == 0 || c.LoRAPlus >= 1 && c.LoRAPlus <= 1000, "loraplus_lr_ratio", c.LoRAPlus, "a number from 1 to 1000, or 0"},
		{oneOf(c.Scheduler, Linear, Cosine, Constant), "lr_scheduler_type", quoted(c.Scheduler), `"linear", "cosine" or "constant"`},
		{c.WarmupRatio >= 0 && c.WarmupRatio <= 1, "warmup_ratio", c.WarmupRatio, "a share from 0 to 1"},
		{c.WarmupSteps >= 0 && c.WarmupSteps <= dataset.MaxSteps, "warmup_steps", c.WarmupSteps, "0 or more"},
		{unit(c.WeightDecay), "weight_decay", c.WeightDecay, "a number from 0 to less than 1"},
		{unit(c.Beta1), "adam_beta1", c.Beta1, "a number from 0 to less than 1"},
		{unit(c.Beta2), "adam_beta2", c.Beta2, "a number from 0 to less than 1"},
		{c.Epsilon >= minFloat && c.Epsilon <= 1, "adam_epsilon", c.Epsilon, fmt.Sprintf("a number from %g to 1", minFloat)},
		{c.MaxGradNorm == 0 || c.MaxGradNorm >= minFloat && c.MaxGradNorm <= math.MaxFloat32, "max_grad_norm", c.MaxGradNorm, fmt.Sprintf("a number from %g, or 0 for none", minFloat)},
	})
}

func (c *Config) checkRun() *FieldError {
	return firstBroken([]rule{
		{c.Epochs > 0 && c.Epochs <= 100_000, "num_train_epochs", c.Epochs, "a number above 0, at most 100000"},
		{c.MaxSteps >= -1 && c.MaxSteps <= dataset.MaxSteps, "max_steps", c.MaxSteps, fmt.Sprintf("a number up to %d", dataset.MaxSteps)},
		{c.Batch >= 1 && c.Batch <= maxBatch, "per_device_train_batch_size", c.Batch, fmt.Sprintf("a number from 1 to %d", maxBatch)},
		{c.Accumulation >= 1 && c.Accumulation <= maxBatch, "gradient_accumulation_steps", c.Accumulation, fmt.Sprintf("a number from 1 to %d", maxBatch)},
		{c.Seed >= 0, "seed", c.Seed, "0 or more"},
		{oneOf(c.EvalStrategy, Never, EverySteps, EveryEpoch), "eval_strategy", quoted(c.EvalStrategy), `"no", "steps" or "epoch"`},
		{c.EvalSteps >= 1 || c.EvalStrategy != EverySteps, "eval_steps", c.EvalSteps, "1 or more"},
		{c.Patience >= 0, "early_stopping_patience", c.Patience, "0 or more"},
		{c.Patience == 0 || c.EvalStrategy != Never, "early_stopping_patience", c.Patience, `0, or an eval_strategy other than "no",`},
		{oneOf(c.SaveStrategy, Never, EverySteps, EveryEpoch), "save_strategy", quoted(c.SaveStrategy), `"no", "steps" or "epoch"`},
		{c.SaveSteps >= 0, "save_steps", c.SaveSteps, "0 or more"},
		{c.SaveTotal >= 1 && c.SaveTotal <= maxCheckpoints, "save_total_limit", c.SaveTotal, fmt.Sprintf("a number from 1 to %d", maxCheckpoints)},
	})
}

// UsualRate is the default learning rate on a base: it falls as the base is wider, by the power that Schulman et al.
// 2025 ("LoRA Without Regret") measured, about 3/4. bench/demosets chose it for the demo base, whose width is 256;
// for a width of 4096 it is 0.0005.
func UsualRate(f *runtime.Facts) float64 {
	const rate, width = 4e-3, 256
	return rate * math.Pow(float64(width)/float64(max(f.Embedding, width)), 0.75)
}

// preferenceRate is the default learning rate of the method dpo over that of supervised training: pairs pull further.
const preferenceRate = 0.25

// reinforcementRate is the same of the method reinforcement, whose gradients are those of few, chosen answers.
const reinforcementRate = 0.5

// UsualRate is the default learning rate of the configuration's method on a base.
func (c *Config) UsualRate(f *runtime.Facts) float64 {
	switch c.Method {
	case DPO:
		return preferenceRate * UsualRate(f)
	case Reinforcement:
		return reinforcementRate * UsualRate(f)
	}
	return UsualRate(f)
}

// fit replaces the values that mean "what suits the base" or the method, and checks those that depend on it.
func (c *Config) fit(f *runtime.Facts) error {
	if c.LearningRate == 0 {
		c.LearningRate = c.UsualRate(f)
	}
	c.fitPreference()
	trained := f.ContextLength
	if trained <= 0 {
		trained = usualLength
	}
	if c.MaxLength == 0 {
		c.MaxLength = min(trained, usualLength)
	}
	if c.MaxLength > trained {
		return &FieldError{Field: "max_length", Reason: fmt.Sprintf("is %d: the base was trained on %d tokens", c.MaxLength, trained)}
	}
	return nil
}

func oneOf(s string, words ...string) bool {
	for _, w := range words {
		if s == w {
			return true
		}
	}
	return false
}

func quoted(s string) string { return fmt.Sprintf("%q", s) }
