package fetch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// Adapter downloads the adapter that source names into the folder dir, which is empty, and returns its path: dir itself
// where it is PEFT's two files, else the one file in it. More than maxBytes are refused with ErrTooLarge. reserve is called
// with the number of bytes before the download begins; its error ends it. pinned is the source with the commit that it was
// at.
func (f *Fetcher) Adapter(ctx context.Context, source, dir string, maxBytes int64, reserve func(bytes int64) error) (path, pinned string, err error) {
	src, err := Parse(source)
	if err != nil {
		return "", "", err
	}
	if src.Bucket != "" {
		path, err = f.fromBucket(ctx, src, dir, bound{maxBytes, reserve})
		return path, src.String(), err
	}
	if f.o.Hub.Offline {
		return "", "", fmt.Errorf("%w: %s", ErrOffline, src)
	}
	l, err := f.list(ctx, src, f.o.Tries)
	if err != nil {
		return "", "", err
	}
	c, err := chooseAdapter(l.Files, src)
	if err != nil {
		return "", "", err
	}
	c.files = slices.Clone(c.files)
	if err := f.fillSizesAndSums(ctx, src.Repo, l.Commit, c.files); err != nil {
		return "", "", err
	}
	var wanted []wanted
	for _, e := range c.files {
		wanted = append(wanted, newWanted(e, sumOf(e), f.openFile(src.Repo, l.Commit, e)))
	}
	src.Revision = l.Commit
	path, err = f.downloadInto(ctx, dir, src, wanted, bound{maxBytes, reserve})
	return path, src.String(), err
}

// bound says how many bytes may be downloaded.
type bound struct {
	bytes   int64
	reserve func(bytes int64) error
}

// wanted is a file to download, and how to open it.
type wanted struct {
	content
	open opener
}

func newWanted(e entry, s sum, open opener) wanted {
	return wanted{content{name: path.Base(e.Path), size: e.Size, sum: s}, open}
}

// downloadInto downloads files into dir, by the last element of their names.
func (f *Fetcher) downloadInto(ctx context.Context, dir string, src Source, files []wanted, limit bound) (string, error) {
	total := int64(0)
	for _, w := range files {
		if total += w.size; w.size > limit.bytes || total > limit.bytes {
			return "", fmt.Errorf("%w: %s has more than %d bytes", ErrTooLarge, src, limit.bytes)
		}
	}
	if err := limit.reserve(total); err != nil {
		return "", err
	}
	if err := disk.CheckSpace(dir, total); err != nil {
		return "", err
	}
	for _, w := range files {
		to := filepath.Join(dir, w.name)
		if err := f.download(ctx, w.content, to+".part", w.open); err != nil {
			return "", err
		}
		if err := os.Rename(to+".part", to); err != nil {
			return "", disk.NoSpace(err)
		}
	}
	if len(files) > 1 {
		return dir, nil
	}
	return filepath.Join(dir, files[0].name), nil
}

// fromBucket downloads an adapter from a bucket. The right to list the bucket is not needed where the source names one
// file or a folder of PEFT's two files.
func (f *Fetcher) fromBucket(ctx context.Context, src Source, dir string, limit bound) (string, error) {
	keys := []string{src.Path}
	folder := src.Path
	if base := path.Base(src.Path); !isAdapterFile(base) {
		if base == peftConfig || base == peftTensors {
			if folder = path.Dir(src.Path); folder == "." {
				folder = ""
			}
		}
		keys = []string{path.Join(folder, peftConfig), path.Join(folder, peftTensors)}
	}
	objects, err := f.stat(ctx, src, keys)
	if errors.Is(err, ErrNotFound) && len(keys) > 1 {
		objects, err = f.search(ctx, src, folder)
	}
	if err != nil {
		return "", err
	}
	var files []wanted
	for _, o := range objects {
		files = append(files, newWanted(o.entry, o.sum, f.s3.open(src.Bucket, o)))
	}
	return f.downloadInto(ctx, dir, src, files, limit)
}

func (f *Fetcher) stat(ctx context.Context, src Source, keys []string) ([]object, error) {
	objects := make([]object, len(keys))
	for i, key := range keys {
		err := f.retry(ctx, f.o.Tries, func() (_ bool, err error) {
			objects[i], err = f.s3.stat(ctx, src.Bucket, key)
			return false, err
		})
		if err != nil {
			return nil, err
		}
	}
	return objects, nil
}

// search looks for the adapter in a folder of a bucket. Its error says what is there instead.
func (f *Fetcher) search(ctx context.Context, src Source, folder string) ([]object, error) {
	var files []entry
	err := f.retry(ctx, f.o.Tries, func() (_ bool, err error) {
		files, err = f.s3.list(ctx, src.Bucket, folder)
		return false, err
	})
	if err != nil {
		return nil, err
	}
	src.Path = folder
	c, err := chooseAdapter(files, src)
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, e := range c.files {
		keys = append(keys, e.Path)
	}
	return f.stat(ctx, src, keys)
}
