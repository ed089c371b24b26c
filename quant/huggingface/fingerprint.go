package huggingface

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"slices"
)

// converter counts the versions of what Import writes: a conversion that is kept is made again when it changes.
const converter = 2

// sample is how many bytes of each end of a tensor a fingerprint takes.
const sample = 4 << 10

// Fingerprint identifies what Import reads of the folder dir, in hex: the SHA-256 of the configuration's, tokenizer's
// and templates' files, of the headers of the shards, and of the first and last 4 KiB of every tensor. As with
// quant.Fingerprint, a change to the inside of a tensor alone is not seen.
func Fingerprint(dir string) (string, error) {
	f, err := openFolder(dir)
	if err != nil {
		return "", err
	}
	defer f.close()
	h := sha256.New()
	fmt.Fprintf(h, "converter %d name %q\n", converter, f.name)
	if err := f.hashFiles(h); err != nil {
		return "", fmt.Errorf("%s: %w", dir, err)
	}
	s, err := openShards(f)
	if err != nil {
		return "", fmt.Errorf("%s: %w", dir, err)
	}
	defer s.close()
	tensors := make([]*stored, 0, len(s.tensors))
	for _, t := range s.tensors {
		tensors = append(tensors, t)
	}
	slices.SortFunc(tensors, func(a, b *stored) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	for _, t := range tensors {
		fmt.Fprintf(h, "tensor %q %s %v\n", t.Name, t.DType, t.Shape)
		head := min(t.Size, 2*sample)
		tail := int64(0)
		if t.Size > 2*sample {
			head, tail = sample, sample
		}
		raw := make([]byte, head+tail)
		if err := errors.Join(t.readAt(raw[:head], 0), t.readAt(raw[head:], t.Size-tail)); err != nil {
			return "", fmt.Errorf("%s: %w", dir, err)
		}
		h.Write(raw)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// hashFiles adds the small files, each with its name.
func (f *folder) hashFiles(h hash.Hash) error {
	names := []string{
		configFile, generationFile, tokenizerFile, sentencePieceFile, tokenizerConfigFile, specialTokensFile,
		addedTokensFile, templateFile, templateJSONFile, cardFile,
	}
	for _, dir := range templateFolders {
		list, err := f.list(dir)
		if err != nil {
			return err
		}
		for _, name := range list {
			names = append(names, path.Join(dir, name))
		}
	}
	for _, name := range names {
		file, size, err := f.open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "file %q %d\n", name, size)
		_, err = io.Copy(h, io.LimitReader(file, maxTokenizer))
		file.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
