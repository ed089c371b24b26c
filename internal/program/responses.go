package program

import (
	"fmt"
	"path/filepath"

	"github.com/lorikeet-ai/lorikeet/responses"
)

// openResponses takes up the responses that are on disk.
func (p *Program) openResponses() (err error) {
	if p.config.KeepResponses <= 0 {
		return nil
	}
	p.responses, err = responses.Open(responses.Options{
		Dir: filepath.Join(p.config.Data, "responses"), Bytes: p.config.ResponseBytes, Time: p.config.KeepResponses,
		Warn: func(s string) { p.log.Warn().Msg(s) },
	})
	if err != nil {
		return fmt.Errorf("--data %s: %w", p.config.Data, err)
	}
	p.onClose(p.responses.Close)
	return nil
}
