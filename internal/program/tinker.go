package program

import (
	"fmt"
	"path/filepath"

	"github.com/lorikeet-ai/lorikeet/tinker"
)

// openTinker takes up the checkpoints of Tinker's API.
func (p *Program) openTinker() (err error) {
	p.tinker, err = tinker.Open(tinker.Options{
		Dir: filepath.Join(p.config.Data, "tinker"), Model: p.model, Names: append([]string{p.name()}, p.aliases()...), Length: p.engine.Context(),
		NewTrainer: p.training.newTrainer(p.tinkerOptions()), Work: p.engine.Work, Submit: p.engine.Submit,
		Store: p.store, Cache: p.cache, Memory: p.config.TrainMemory, Warn: func(s string) { p.log.Warn().Msg(s) },
	})
	if err != nil {
		return fmt.Errorf("--data %s: %w", p.config.Data, err)
	}
	p.onClose(p.tinker.Close)
	return nil
}
