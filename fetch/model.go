package fetch

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// Model downloads the base model that source, an hf:// one, names, and returns its path: a GGUF file (the first where it
// is split into several), or a folder with config.json, model*.safetensors and the tokenizer's files. Files that are here
// already are not downloaded again. For a full commit no request is made once its files are here. For a branch or tag the
// hub is asked for its present commit; where the hub does not answer, the commit of the last time is used.
func (f *Fetcher) Model(ctx context.Context, source string) (path string, err error) {
	src, err := Parse(source)
	if err != nil {
		return "", err
	}
	if src.Repo == "" {
		return "", fmt.Errorf("%w: %q: models come from hf://", ErrSource, source)
	}
	s := f.cacheOf(src.Repo)
	l, err := f.resolve(ctx, s, src)
	if err != nil {
		return "", err
	}
	c, err := chooseModel(l.Files, src)
	if err != nil {
		return "", err
	}
	if err := f.downloadMissing(ctx, s, src, l.Commit, c.files); err != nil {
		return "", err
	}
	return s.file(l.Commit, c.main), nil
}

// resolve returns the listing of a revision, from the hub, or from the disk where that is enough.
func (f *Fetcher) resolve(ctx context.Context, s repoCache, src Source) (listing, error) {
	kept, keptErr := s.listing(src.Revision)
	switch {
	case keptErr == nil && (f.o.Hub.Offline || commitName.MatchString(src.Revision)):
		return kept, nil
	case f.o.Hub.Offline:
		return listing{}, fmt.Errorf("%w: %s", ErrOffline, repoOf(src))
	}
	tries := f.o.Tries
	if keptErr == nil {
		tries = 1
	}
	l, err := f.list(ctx, src, tries)
	if keptErr == nil && (errors.Is(err, ErrUnreachable) || errors.Is(err, ErrBusy)) {
		f.o.Note(fmt.Sprintf("%v; using %s as it was last, at commit %s", err, repoOf(src), kept.Commit))
		return kept, nil
	}
	if err != nil {
		return listing{}, err
	}
	return l, s.saveListing(src.Revision, l)
}

// downloadMissing downloads those of the files that are not here yet.
func (f *Fetcher) downloadMissing(ctx context.Context, s repoCache, src Source, commit string, files []entry) error {
	missing := func() (m []entry) {
		for _, e := range files {
			if !s.has(commit, e) {
				m = append(m, e)
			}
		}
		return m
	}
	m := missing()
	if len(m) == 0 {
		return nil
	}
	if f.o.Hub.Offline {
		return fmt.Errorf("%w: %s of %s", ErrOffline, m[0].Path, repoOf(src))
	}
	unlock, err := s.lock(ctx, func() { f.o.Note("waiting for another process that downloads " + src.Repo) })
	if err != nil {
		return err
	}
	defer unlock()
	m = missing() // fewer, where another process has downloaded some meanwhile
	if err := f.fillSizesAndSums(ctx, src.Repo, commit, m); err != nil {
		return err
	}
	var rest []entry
	need := int64(0)
	for _, e := range m {
		if s.has(commit, e) || s.linkFromOtherCommit(commit, e) {
			continue
		}
		rest, need = append(rest, e), need+e.Size
		if info, err := os.Stat(s.partPath(commit, e)); err == nil {
			need -= min(info.Size(), e.Size)
		}
	}
	if err := disk.CheckSpace(s.dir, need); err != nil {
		return err
	}
	for _, e := range rest {
		part := s.partPath(commit, e)
		want := content{name: e.Path, size: e.Size, sum: sumOf(e)}
		if err := f.download(ctx, want, part, f.openFile(src.Repo, commit, e)); err != nil {
			return err
		}
		if err := s.finishPart(part, commit, e); err != nil {
			return err
		}
	}
	return nil
}
