package program

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/demo"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/engine"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
	"github.com/lorikeet-ai/lorikeet/server"
)

var kvTypes = map[string]llama.KVType{"f16": llama.KVF16, "f32": llama.KVF32, "q8_0": llama.KVQ8}

func (p *Program) openModel() (err error) {
	o := llama.Options{
		Path:      p.config.Model,
		NF4:       map[string]llama.NF4Mode{"i16": llama.NF4Int16, "f32": llama.NF4Float, "i8": llama.NF4Int8}[p.config.NF4],
		KeepPlain: p.config.Backend == "mmid",

		CheckTensors: p.config.CheckTensors,
		Log:          p.logLibrary,
	}
	if o.Path == "" {
		o.Bytes, o.Name = demo.Base(), demo.Name
	}
	start := time.Now()
	if p.model, err = p.load(o); err != nil {
		return err
	}
	p.onClose(p.model.Close)
	if !p.model.HasTokenizer() {
		return fmt.Errorf("%s has no tokenizer: it cannot answer texts", p.model.Facts().Name)
	}
	f := p.model.Facts()
	p.log.Info().Str("model", f.Name).Str("architecture", f.Architecture).Str("quantization", f.Quantization).
		Int64("parameters", f.Parameters).Float64("bits_per_weight", f.BitsPerWeight).Float64("resident_bits_per_weight", f.ResidentBits).Stringer("took", time.Since(start).Round(time.Millisecond)).Msg("model loaded")
	if f.TokenizerProven {
		p.log.Info().Str("family", f.Tokenizer).Msg("tokenizer")
	} else {
		p.log.Warn().Str("family", f.Tokenizer).Msg("tokenizer: this family is not proven to give the tokens of the original library; texts are treated as llama.cpp does")
	}
	source := ""
	if p.config.Template != "" {
		text, err := os.ReadFile(p.config.Template)
		if err != nil {
			return fmt.Errorf("--chat-template-file: %w", err)
		}
		source = string(text)
	}
	p.template = chat.NewTemplate(p.model, source, func(s string) { p.log.Warn().Msg("chat template: " + s) })
	if reason := p.template.GenericTools(); reason != "" {
		p.log.Info().Msg("tools: " + reason)
	}
	if p.config.AllowSpecial {
		p.template.AllowSpecialInContent()
	}
	return nil
}

// logLibrary writes llama.cpp's log to ours: warnings and errors as such, everything else at debug.
func (p *Program) logLibrary(level slog.Level, line string) {
	event := p.log.Debug()
	switch {
	case strings.Contains(line, "n_ctx_train"): // llama.cpp compares the context with the cells of all sequences together, so that this warning is wrong here
	case strings.Contains(line, "grammar"): // the error is returned to the request that brought the grammar
	case level >= slog.LevelError:
		event = p.log.Error()
	case level >= slog.LevelWarn:
		event = p.log.Warn()
	}
	event.Str("from", "llama.cpp").Msg(strings.TrimSpace(line))
}

// roundsAlike reports whether a row has the same bits in every batch without being computed by itself: on the CPU, with our own
// attention and products.
func (c *Config) roundsAlike(f *runtime.Facts) bool {
	return f.Device == "" && c.KVType == "f16" && c.FlashAttention != "off" && c.Backend == "fused"
}

func (p *Program) openEngine() error {
	c := &p.config
	if c.Context == 0 {
		c.Context = MaxContext
		if n := p.model.Facts().ContextLength; n > 0 {
			c.Context = min(c.Parallel*n, MaxContext)
		}
	}
	o := llama.DeviceOptions{
		// More sequences than run at once: the others keep the prefixes of finished answers.
		Sequences: min(2*c.Parallel, 256), Cells: c.Context, Batch: c.Batch, UBatch: min(c.UBatch, c.Batch), Threads: c.Threads,
		KV:             kvTypes[c.KVType],
		FlashAttention: map[string]llama.FlashAttention{"auto": llama.FlashAuto, "on": llama.FlashOn, "off": llama.FlashOff}[c.FlashAttention],
		LoRA:           map[string]llama.Backend{"fused": llama.Fused, "mmid": llama.MMID}[c.Backend],
		SlotBytes:      slotBytes(c),
	}
	if c.Deterministic && !c.roundsAlike(p.model.Facts()) {
		o.Sequences, o.UBatch, o.SplitKV = c.Parallel, 1, true
	}
	device, err := llama.NewDevice(p.model, o)
	if err != nil {
		return err
	}
	p.metrics = server.NewMetrics()
	p.engine = engine.New(device, p.model, engine.Options{
		Parallel: c.Parallel, MaxQueue: c.MaxQueue, Chunk: c.Chunk, Grouped: c.Grouped,
		Deadline: c.Deadline, Observer: p.metrics, Share: c.TrainShare,
	})
	p.onClose(p.engine.Close)
	return nil
}

// slotBytes is the memory for adapters where layers are on a device: half as much there as on the host, which has a copy of
// every adapter that is on the device. On the CPU, slots are a reference to compare with, and have the size that they have.
func slotBytes(c *Config) int64 {
	if c.Backend == "mmid" {
		return 0
	}
	return c.AdapterBytes / 2
}

// name is the base model's id in the API: the first alias, or the model's name in a form that is easy to type.
func (p *Program) name() string {
	switch {
	case len(p.config.Aliases) > 0:
		return p.config.Aliases[0]
	case p.config.Model == "":
		return demo.Name
	}
	return strings.ToLower(strings.Join(strings.Fields(p.model.Facts().Name), "-"))
}

// aliases are the further names of the base model, its own among them.
func (p *Program) aliases() []string {
	names := []string{}
	for _, a := range slices.Concat(p.config.Aliases, []string{p.model.Facts().Name}) {
		if a != p.name() {
			names = append(names, a)
		}
	}
	return names
}
