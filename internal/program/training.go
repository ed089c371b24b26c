package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/quant/original"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
	"github.com/lorikeet-ai/lorikeet/training"
)

// sampleTokens bounds each answer of a report.
const sampleTokens = 200

// trainer is the part of the program that makes adapters.
type trainer struct {
	weights *qlora.Model // the tensors that serve, as training reads them; nil where it cannot
	refused error        // why it cannot

	original   *original.Model // what the base was quantized from; nil: it is not known,
	noOriginal error           // and why

	files *training.Files
	jobs  *training.Queue
	close func() error // ends the run under way and waits; may be called twice
}

// openTraining takes up the jobs that are on disk.
func (p *Program) openTraining() (err error) {
	if err := p.openOriginal(); err != nil {
		return err
	}
	if err := p.openWeights(); err != nil {
		return err
	}
	warn := func(s string) { p.log.Warn().Msg(s) }
	dir := filepath.Join(p.config.Data, "training")
	t := &p.training
	if t.files, err = training.OpenFiles(training.FilesOptions{Dir: filepath.Join(dir, "uploads"), MaxFiles: p.config.MaxFiles, MaxTotal: p.config.MaxFileData, Warn: warn}); err != nil {
		return fmt.Errorf("--data %s: %w", p.config.Data, err)
	}
	p.onClose(t.files.Close)
	t.jobs, err = training.Open(training.Options{
		Dir: filepath.Join(dir, "queue"), Model: p.model, Template: p.template, Store: p.store,
		NewTrainer: t.newTrainer(p.trainOptions()), Estimate: t.estimate(p.trainOptions()), Work: p.engine.Work, Answer: p.answer,
		Submit: p.engine.Submit, Cache: p.cache, Graders: p.graderTools, Rollouts: max(1, p.engine.Parallel()/2), Files: t.files,
		Memory: p.config.TrainMemory, MaxJobs: p.config.MaxJobs, MaxJobBytes: p.config.MaxJobData, Warn: warn,
		NoOriginal: t.noOriginal,
	})
	if err != nil {
		return fmt.Errorf("--data %s: %w", p.config.Data, err)
	}
	t.close = sync.OnceValue(t.jobs.Close)
	p.onClose(t.close)
	return nil
}

// openWeights looks at the loaded tensors as training reads them. A base that cannot be trained is served all
// the same.
func (p *Program) openWeights() error {
	w, err := p.model.Weights()
	if err != nil {
		return err
	}
	t := &p.training
	t.weights, t.refused = qlora.OfLlama(w.Llama, w.PackedOf, w.Context, w.Release)
	if t.refused != nil {
		w.Release()
		p.log.Warn().Err(t.refused).Msg("this base cannot be trained")
		return nil
	}
	t.weights.LimitMemory(p.config.TrainMemory)
	p.onClose(t.weights.Close)
	return nil
}

// trainOptions are how trainers compute.
func (p *Program) trainOptions() qlora.Options {
	precision := map[string]qlora.Precision{"half": qlora.Half, "single": qlora.Single}[p.config.TrainPrecision]
	o := qlora.Options{Threads: p.config.Threads, Precision: precision}
	if p.training.original != nil {
		o.Original = p.training.lend
	}
	return o
}

// tinkerOptions are those of the models of Tinker's API, whose log-probabilities clients compare with those of sampling.
func (p *Program) tinkerOptions() qlora.Options {
	o := p.trainOptions()
	// llama.cpp's flash attention takes keys and values in half precision, whatever the cache has.
	o.Served = &qlora.Served{KV: p.config.KVType == "f16" || p.config.KVType == "f32" && p.config.FlashAttention != "off", Adapters: true}
	return o
}

// trainable returns why the base cannot be trained.
func (t *trainer) trainable() error { return t.refused }

// newTrainer returns what makes trainers, for all who train: together they take --train-memory at most. One that does not fit
// beside the others is refused with runtime.ErrTrainBusy. Where it takes memory in which others keep activations, it waits for
// the micro-batch under way.
func (t *trainer) newTrainer(o qlora.Options) func(runtime.TrainSpec) (runtime.Trainer, error) {
	return func(spec runtime.TrainSpec) (runtime.Trainer, error) {
		if t.refused != nil {
			return nil, t.refused
		}
		made, err := qlora.Open(context.Background(), t.weights, spec, o)
		if err != nil {
			return nil, err
		}
		return made, nil
	}
}

// estimate returns what such a trainer would take, or why it could not be made, and makes none.
func (t *trainer) estimate(o qlora.Options) func(runtime.TrainSpec) (runtime.TrainMemory, error) {
	return func(spec runtime.TrainSpec) (runtime.TrainMemory, error) {
		if t.refused != nil {
			return runtime.TrainMemory{}, t.refused
		}
		return qlora.Estimate(t.weights, spec, o)
	}
}

// memory tells what all who train hold, and their bound.
func (t *trainer) memory() (bytes, limit int64) {
	if t.weights == nil {
		return 0, 0
	}
	return t.weights.TrainingMemory()
}

// answer continues a conversation greedily, for a report.
func (p *Program) answer(ctx context.Context, adapter string, messages []runtime.Message) (string, error) {
	prompt, err := p.template.Tokenize(messages, chat.Options{AddGenerationPrompt: true})
	if err != nil {
		return "", err
	}
	r := runtime.Request{Prompt: prompt, MaxTokens: sampleTokens, Top: -1, NoReuse: true}
	if adapter != "" {
		ref, err := adapters.ParseRef(adapter)
		if err != nil {
			return "", err
		}
		selection, err := p.cache.Select([]adapters.Ref{ref})
		if err != nil {
			return "", err
		}
		defer selection.Release()
		r.Adapters = selection
	}
	stream, err := p.engine.Submit(ctx, r)
	if err != nil {
		return "", err
	}
	defer stream.Close()
	var text strings.Builder
	for {
		ev, err := stream.Next(ctx)
		if errors.Is(err, io.EOF) {
			return text.String(), nil
		}
		if err != nil {
			return "", err
		}
		text.WriteString(ev.Text)
	}
}
