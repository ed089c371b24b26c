package adapters

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
)

// This file unpacks adapters from untrusted archives. Nothing is unpacked under a name that the
// archive chose; entries are counted, their real lengths are bounded, and links and devices are refused by name.

const (
	// maxEntries is how many files an archive may have: a PEFT folder with its tokenizer has a dozen.
	maxEntries = 1000
	// maxDirectory bounds what is read of a .zip before its entries are known.
	maxDirectory = 4 << 20
)

// entry is one file of an archive.
type entry struct {
	name string
	mode fs.FileMode
	open func() (io.ReadCloser, error)
}

// unpacked is what was found in one folder of an archive.
type unpacked struct {
	dir             string // where the files are now, under PEFT's names
	config, tensors bool
	pickle          bool // PyTorch's form of the tensors was seen
}

// archive opens the adapter in an archive: at its top, or in the one folder there that holds one. The archive itself is
// done with before the adapter is written.
func (o *opener) archive(p Part, entries iter.Seq2[entry, error]) (*peft.Source, error) {
	found, err := o.unpack(entries)
	if err != nil {
		return nil, err
	}
	if p.Done != nil {
		p.Done()
	}
	var chosen *unpacked
	configs, pickle := 0, false
	for dir, u := range found {
		if pickle = pickle || u.pickle; !u.config {
			continue
		}
		if configs++; chosen == nil || dir == "." {
			chosen = u
		}
	}
	if configs > 1 && chosen != found["."] {
		return nil, fmt.Errorf("%w: the archive holds more than one adapter; send one at a time", peft.ErrFormat)
	}
	switch {
	case chosen == nil && pickle, chosen != nil && !chosen.tensors && chosen.pickle:
		return nil, pickleError(pickleFile)
	case chosen == nil:
		return nil, fmt.Errorf("%w: the archive has no %s, at its top or in one folder", peft.ErrFormat, peft.ConfigFile)
	}
	return o.folder(func(name string) (*os.File, error) { return os.Open(filepath.Join(chosen.dir, name)) })
}

// unpack writes PEFT's two files and those of a chat template, of the archive's top and of the folders in it, into the
// scratch folder.
// The result is keyed by the folder's name in the archive.
func (o *opener) unpack(entries iter.Seq2[entry, error]) (map[string]*unpacked, error) {
	found := make(map[string]*unpacked)
	count, left := 0, o.maxBytes
	for e, err := range entries {
		if err != nil {
			return nil, o.archiveError(err)
		}
		if count++; count > maxEntries {
			return nil, fmt.Errorf("%w: the archive has more than %d entries", peft.ErrFormat, maxEntries)
		}
		if err := checkEntry(e); err != nil {
			return nil, err
		}
		dir, base := path.Split(path.Clean(e.name))
		if dir = path.Clean(dir); base == ToolTemplateFile && path.Base(dir) == templateFolder {
			dir = path.Dir(dir)
		}
		isConfig, isTensors := base == peft.ConfigFile, base == peft.TensorsFile
		if e.mode.IsDir() || strings.Contains(dir, "/") || !isConfig && !isTensors && !isPickle(base) && !isTemplateFile(base) {
			continue
		}
		u := found[dir]
		if u == nil {
			u = &unpacked{dir: filepath.Join(o.scratch, fmt.Sprint("unpacked-", len(found)))}
			found[dir] = u
			if err := o.fs.Mkdir(u.dir); err != nil {
				return nil, err
			}
		}
		if u.config = u.config || isConfig; isPickle(base) {
			u.pickle = true
			continue
		}
		u.tensors = u.tensors || isTensors
		n, err := o.extract(e, filepath.Join(u.dir, base), left)
		if left -= n; err != nil {
			return nil, o.archiveError(err)
		}
		if left < 0 {
			return nil, o.tooLarge("the unpacked archive")
		}
	}
	return found, nil
}

// archiveError marks what archive/zip, archive/tar and compress/gzip find wrong as the archive's fault; errors of the
// disk and the end of the context are not.
func (o *opener) archiveError(err error) error {
	if o.ctx.Err() != nil {
		return context.Cause(o.ctx)
	}
	if p := new(fs.PathError); errors.As(err, &p) || errors.Is(err, ErrTooLarge) || errors.Is(err, peft.ErrFormat) {
		return err
	}
	return fmt.Errorf("%w: the archive: %w", peft.ErrFormat, err)
}

// checkEntry refuses names that lead out of the archive, and everything that is not a file or a folder.
func checkEntry(e entry) error {
	plain := strings.TrimSuffix(strings.TrimPrefix(e.name, "./"), "/")
	if strings.ContainsAny(plain, "\\\x00") || plain != "" && !fs.ValidPath(plain) {
		return fmt.Errorf("%w: the archive has an entry %q, which leads out of it", peft.ErrFormat, e.name)
	}
	if t := e.mode.Type(); t != 0 && t != fs.ModeDir {
		return fmt.Errorf("%w: entry %q of the archive is a link or a device", peft.ErrFormat, e.name)
	}
	return nil
}

// extract writes an entry to a new file and returns its length, which is left+1 where it is longer than left.
func (o *opener) extract(e entry, to string, left int64) (n int64, err error) {
	r, err := e.open()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	f, err := o.fs.Create(to)
	if errors.Is(err, fs.ErrExist) {
		return 0, fmt.Errorf("%w: the archive has %q twice", peft.ErrFormat, e.name)
	}
	if err != nil {
		return 0, err
	}
	n, err = io.Copy(&countingWriter{ctx: o.ctx, fs: o.fs, f: f}, io.LimitReader(r, left+1))
	return n, errors.Join(err, f.Close())
}

// zip opens the adapter in a .zip.
func (o *opener) zip(p Part) (*peft.Source, error) {
	directory := &limitedReaderAt{r: p.Body, left: maxDirectory}
	z, err := zip.NewReader(directory, p.Size)
	if err != nil {
		return nil, o.archiveError(err)
	}
	directory.left = -1
	var unpacked int64 // as stated, which archive/zip holds the entries to
	for _, f := range z.File {
		if base := path.Base(f.Name); base == peft.ConfigFile || base == peft.TensorsFile || isTemplateFile(base) {
			unpacked += int64(min(f.UncompressedSize64, uint64(o.maxBytes)))
		}
	}
	if unpacked = min(unpacked, o.maxBytes); unpacked > 0 {
		if err := o.reserve(2 * unpacked); err != nil {
			return nil, err
		}
	}
	return o.archive(p, zipEntries(z))
}

// zipEntries yields the entries of a .zip. They are skipped without being unpacked.
func zipEntries(z *zip.Reader) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		for _, f := range z.File {
			if !yield(entry{f.Name, f.Mode(), f.Open}, nil) {
				return
			}
		}
	}
}

// limitedReaderAt lets left bytes be read; -1 lifts the bound. zip.NewReader keeps every entry it finds in memory,
// and believes its input and not the count that the archive states.
type limitedReaderAt struct {
	r    io.ReaderAt
	left int64
}

func (b *limitedReaderAt) ReadAt(p []byte, at int64) (int, error) {
	if b.left >= 0 {
		if b.left -= int64(len(p)); b.left < 0 {
			b.left = 0
			return 0, fmt.Errorf("%w: the .zip has too many entries", peft.ErrFormat)
		}
	}
	return b.r.ReadAt(p, at)
}

// maxGzipRatio is how many bytes one byte of gzip can become: 1032 in deflate's densest form.
const maxGzipRatio = 1032

// tar opens the adapter in a .tar or .tar.gz. What a .tar.gz unpacks to is known only when it is: the most that its
// length allows is reserved.
func (o *opener) tar(p Part, gzipped bool) (*peft.Source, error) {
	unpacked := p.Size
	if gzipped {
		unpacked = min(unpacked, o.maxBytes/maxGzipRatio+1) * maxGzipRatio
	}
	if err := o.reserve(2 * min(unpacked, o.maxBytes)); err != nil {
		return nil, err
	}
	return o.archive(p, tarEntries(o.ctx, p, gzipped, o.maxBytes))
}

// tarEntries yields the entries of a .tar or .tar.gz, of which at most maxBytes are unpacked, read or skipped.
func tarEntries(ctx context.Context, p Part, gzipped bool, maxBytes int64) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		var r io.Reader = bufio.NewReader(io.NewSectionReader(p.Body, 0, p.Size))
		if gzipped {
			z, err := gzip.NewReader(r)
			if err != nil {
				yield(entry{}, err)
				return
			}
			defer z.Close()
			r = z
		}
		t := tar.NewReader(&limitedReader{ctx: ctx, r: r, left: maxBytes + maxDirectory})
		for {
			h, err := t.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(entry{}, err)
				return
			}
			if h.Typeflag == tar.TypeXGlobalHeader {
				continue
			}
			mode := h.FileInfo().Mode()
			if h.Typeflag == tar.TypeLink {
				mode |= fs.ModeIrregular
			}
			if !yield(entry{h.Name, mode, func() (io.ReadCloser, error) { return io.NopCloser(t), nil }}, nil) {
				return
			}
		}
	}
}

// limitedReader fails with ErrTooLarge after left bytes, and with the cause of ctx once that has ended.
type limitedReader struct {
	ctx  context.Context
	r    io.Reader
	left int64
}

func (c *limitedReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	if c.left <= 0 {
		return 0, fmt.Errorf("%w: the archive unpacks to more than is stored", ErrTooLarge)
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}
