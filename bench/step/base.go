package main

import (
	goruntime "runtime"
	"slices"
	"strings"
	"time"

	"github.com/lorikeet-ai/lorikeet/bench/randmodel"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
)

// prompt is the length of every prompt in tokens.
const prompt = 60

// placings is how often the placing of an adapter is measured in a round.
const placings = 4

// base is a loaded model, its device and its adapters.
type base struct {
	name     string
	model    *llama.Model
	device   *llama.Device
	adapters []runtime.Term // as many as there are sequences
	lora     *runtime.LoRA  // of which all are made
	greedy   runtime.Sampler
	close    []func() error
}

func open(s settings, name, path string) (_ *base, err error) {
	b := &base{name: name}
	defer func() {
		if err != nil {
			b.stop()
		}
	}()
	if b.model, err = llama.Load(llama.Options{Path: path, Device: s.device, GPULayers: s.layers}); err != nil {
		return nil, err
	}
	b.close = append(b.close, b.model.Close)
	widest := slices.Max(s.widths)
	o := llama.DeviceOptions{
		Sequences: widest, Cells: widest * 512, Batch: max(1024, widest*prompt), UBatch: 512, Threads: goruntime.NumCPU(),
	}
	if !s.flashAttention {
		o.FlashAttention = llama.FlashOff
	}
	if b.device, err = llama.NewDevice(b.model, o); err != nil {
		return nil, err
	}
	b.close = append(b.close, b.device.Close)
	if b.greedy, err = b.model.NewSampler(runtime.Sampling{}, nil); err != nil {
		return nil, err
	}
	b.close = append(b.close, b.greedy.Close)
	b.lora = adapter(b.model.Facts())
	for range widest { // equal numbers, but each has its own memory
		packed, err := b.model.Pack(b.lora)
		if err != nil {
			return nil, err
		}
		b.close = append(b.close, packed.Close)
		b.adapters = append(b.adapters, runtime.Term{Packed: packed, Scale: 1})
	}
	return b, nil
}

// adapter has small random updates of every linear layer of the blocks.
func adapter(facts *runtime.Facts) *runtime.LoRA {
	var a runtime.LoRA
	for name, shape := range facts.Targets {
		if !strings.HasPrefix(name, "blk.") {
			continue
		}
		a.Modules = append(a.Modules, runtime.LoRAModule{Tensor: name, Rank: randmodel.Rank, In: shape.In, Out: shape.Out,
			Scale: 1, A: values(randmodel.Rank * shape.In), B: values(randmodel.Rank * shape.Out)})
	}
	return &a
}

func values(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(i*7919%1000-500) * 1e-5
	}
	return v
}

func (b *base) stop() {
	for i := len(b.close) - 1; i >= 0; i-- {
		_ = b.close[i]()
	}
}

// mix returns the adapters of a sequence.
func (b *base) mix(mode string, seq int) []runtime.Term {
	switch mode {
	case "same":
		return b.adapters[:1]
	case "different":
		return b.adapters[seq : seq+1]
	}
	return nil
}

// measure computes the prompts of n sequences in one call, then decodes from them; with different adapters, it also places
// new ones.
func (b *base) measure(n int, mode string, steps int, r *report) error {
	var rows []runtime.Row
	last := make([]runtime.Row, n)
	for seq := range n {
		if err := b.device.SetAdapters(seq, b.mix(mode, seq)); err != nil {
			return err
		}
		for pos := range prompt {
			rows = append(rows, runtime.Row{Token: runtime.Token((seq*7919 + pos*104729) % (b.model.Facts().VocabSize - 1)), Seq: seq, Pos: pos, Top: -1})
		}
		rows[len(rows)-1].Sampler = b.greedy
		last[seq].Pos = prompt - 1
	}
	took, err := b.decode(rows, last)
	if err != nil {
		return err
	}
	r.add(b.name, n, mode, "prompts", took)
	for range steps {
		if took, err = b.decode(last, last); err != nil {
			return err
		}
		r.add(b.name, n, mode, "decode", took)
	}
	if mode == "different" {
		if err := b.place(last, func(took time.Duration) { r.add(b.name, n, mode, "place", took) }); err != nil {
			return err
		}
	}
	for seq := range n {
		if _, err := b.device.Truncate(seq, 0); err != nil {
			return err
		}
	}
	return nil
}

// decode computes rows and puts those that follow the sampled tokens into last, one for each sequence.
func (b *base) decode(rows, last []runtime.Row) (time.Duration, error) {
	begin := time.Now()
	choices, err := b.device.Decode(rows)
	took := time.Since(begin)
	if err != nil {
		return 0, err
	}
	for i, c := range choices {
		last[i] = runtime.Row{Token: c.Token, Seq: i, Pos: last[i].Pos + 1, Sampler: b.greedy, Top: -1}
	}
	return took, nil
}

// place gives the first sequence an adapter that the device has never seen, and tells how long that and the decode after it
// take, beyond the decode after that.
func (b *base) place(last []runtime.Row, add func(time.Duration)) error {
	for range placings {
		packed, err := b.model.Pack(b.lora)
		if err != nil {
			return err
		}
		begin := time.Now()
		err = b.device.SetAdapters(0, []runtime.Term{{Packed: packed, Scale: 1}})
		var with, without time.Duration
		if err == nil {
			_, err = b.decode(last, last)
			with = time.Since(begin)
		}
		if err == nil {
			without, err = b.decode(last, last)
		}
		if err == nil {
			err = b.device.SetAdapters(0, b.mix("different", 0))
		}
		_ = packed.Close()
		if err != nil {
			return err
		}
		add(max(0, with-without))
	}
	return nil
}
