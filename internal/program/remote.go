package program

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/fetch"
)

// openFetch makes what brings adapters, where requests may name sources.
func (p *Program) openFetch() (err error) {
	if !p.config.Fetches() {
		return nil
	}
	o := p.config.Fetch
	o.Note = func(s string) { p.log.Warn().Msg("fetching an adapter: " + s) }
	if p.fetcher, err = fetch.New(o); err != nil {
		return err
	}
	return nil
}

// fetchAdapter registers what a source names, which the server asks for. What came is gone afterwards, whatever
// became of it: the store keeps its own copy.
func (p *Program) fetchAdapter(ctx context.Context, name, source string) (info adapters.Info, err error) {
	dir, err := os.MkdirTemp(filepath.Join(p.config.Data, "tmp"), "fetch-") // the store empties tmp at its start
	if err != nil {
		return info, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	share := p.uploads.Share()
	defer share.Release()
	path, pinned, err := p.fetcher.Adapter(ctx, source, dir, p.config.MaxUpload, share.Take)
	if err != nil {
		return info, err
	}
	return p.store.PutPath(ctx, name, path, adapters.Note{Origin: adapters.Origin{Kind: adapters.FromSource, Detail: pinned}})
}
