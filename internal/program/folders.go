package program

import (
	"context"
	"fmt"

	"github.com/lorikeet-ai/lorikeet/adapters"
)

// importPath registers a path inside of the adapter folders, which the server asks for.
func (p *Program) importPath(ctx context.Context, name, path string) (adapters.Info, error) {
	if p.folders == nil {
		return adapters.Info{}, fmt.Errorf("%w: the server was started without --adapter-dir", adapters.ErrPath)
	}
	return p.folders.ImportPath(ctx, name, path)
}

func (p *Program) openFolders() (err error) {
	if len(p.config.AdapterDirs) == 0 {
		return nil
	}
	p.folders, err = adapters.WatchFolders(adapters.FoldersOptions{Store: p.store, Dirs: p.config.AdapterDirs, Event: p.logFolder})
	if err != nil {
		return fmt.Errorf("--adapter-dir: %w", err)
	}
	p.onClose(p.folders.Close)
	return nil
}

func (p *Program) logFolder(e adapters.FolderEvent) {
	if e.Err != nil {
		p.log.Error().Err(e.Err).Str("adapter", e.Name).Str("path", e.Path).Msg("adapter " + string(e.Action))
		return
	}
	level := p.log.Info()
	if e.Action != adapters.Unchanged { // logChange tells of it
		level = p.log.Debug()
	}
	level.Str("adapter", e.Name).Str("version", e.Info.Version).Str("path", e.Path).Msg("adapter " + string(e.Action))
}
