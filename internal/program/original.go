package program

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"

	"github.com/lorikeet-ai/lorikeet/demo"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/quant/original"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
)

// errNoOriginal is why an adapter cannot begin with LoftQ where no original was named.
var errNoOriginal = errors.New("it begins at what quantization lost, and the server has the quantized weights alone; serve with --original-model, " +
	"the GGUF file or Hugging Face folder in F32, F16 or BF16 that the base was quantized from")

// openOriginal opens the model that the base was quantized from, where there is one. One that was named must be it; a folder that the
// base was converted from need not be readable any more.
func (p *Program) openOriginal() error {
	t := &p.training
	path := cmp.Or(p.config.Original, p.folder)
	if path == "" {
		t.noOriginal = errNoOriginal
		return nil
	}
	base, err := p.baseFile()
	if err != nil {
		return err
	}
	defer base.Close()
	t.original, err = original.Open(path, base)
	if err != nil && p.config.Original != "" {
		return fmt.Errorf("--original-model: %w", err)
	}
	if err != nil {
		p.log.Warn().Err(err).Msg("adapters cannot begin with LoftQ")
		t.noOriginal = err
		return nil
	}
	p.onClose(t.original.Close)
	return nil
}

// baseFile opens the header of the base's file.
func (p *Program) baseFile() (*quant.File, error) {
	if p.config.Model == "" {
		return quant.Read(bytes.NewReader(demo.Base()), int64(len(demo.Base())))
	}
	return quant.Open(p.config.Model)
}

// lend is qlora.Options.Original.
func (t *trainer) lend(tensor string) (qlora.Original, error) {
	w, err := t.original.Weight(tensor)
	return qlora.Original{Type: w.Type, In: w.In, Out: w.Out, Heads: w.Heads, Data: w.Data}, err
}
