package tinker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// headTensor is the output head, where it is not the token embeddings.
const headTensor = "output.weight"

// modules returns what a Trainer of the configuration trains, in the order of the tensors' names.
func (s *Service) modules(c *Config) []runtime.TrainModule {
	var list []runtime.TrainModule
	for _, name := range slices.Sorted(maps.Keys(s.o.Model.Facts().Targets)) {
		var wanted bool
		switch {
		case name == headTensor:
			wanted = c.Unembed
		case !strings.HasPrefix(name, "blk."):
		case strings.Contains(name, ".ffn_"):
			wanted = c.MLP
		default: // what mixes tokens: attention under all its names
			wanted = c.Attn
		}
		if wanted {
			list = append(list, runtime.TrainModule{Tensor: name, Rank: c.Rank, Scale: Alpha / float32(c.Rank)})
		}
	}
	return list
}

// Bounds of a micro-batch's tokens: more than the most are computed no faster.
const (
	mostTokens  = 2048
	leastTokens = 128
)

// spec is what the model's Trainer is made for. Beside it the memory holds one copy of the adapter, by which its weights are
// placed to be sampled from.
func (m *model) spec(tokens int) runtime.TrainSpec {
	o := &m.service.o
	spec := runtime.TrainSpec{Modules: m.service.modules(&m.config), MaxTokens: tokens, Memory: o.Memory, Seed: m.seed}
	for _, x := range spec.Modules {
		shape := o.Model.Facts().Targets[x.Tensor]
		spec.Reserved += 4 * int64(x.Rank) * int64(shape.In+shape.Out)
	}
	return spec
}

// open makes the model's Trainer, for micro-batches that are as large as the memory allows.
func (m *model) open() error {
	s := m.service
	for tokens := min(mostTokens, s.o.Length); ; tokens /= 2 {
		t, err := s.o.NewTrainer(m.spec(tokens))
		switch {
		case err == nil:
			m.trainer, m.maxTokens = t, tokens
			return nil
		case !errors.Is(err, runtime.ErrTrainMemory) && !errors.Is(err, runtime.ErrTrainBusy):
			return err
		case tokens/2 < leastTokens:
			return fmt.Errorf("%w; sequences of %d tokens are tried last: a smaller rank, fewer models at once or a larger --train-memory is needed", err, tokens)
		}
	}
}

// begin makes the model's Trainer, and computes the first values of its adapter in slices.
func (m *model) begin(ctx context.Context) error {
	if err := m.open(); err != nil {
		return err
	}
	err := m.service.o.Work(ctx, m.trainer)
	if err != nil {
		err = errors.Join(err, m.trainer.Close())
		m.trainer = nil
	}
	return err
}

// weights returns a copy of the adapter as it stands, which is good until the next one is taken: all of a model's copies lie in
// the same memory.
func (m *model) weights() (*runtime.LoRA, error) {
	v, err := m.trainer.View()
	if err != nil {
		return nil, err
	}
	m.copied = v.CopyTo(m.copied)
	return m.copied, nil
}
