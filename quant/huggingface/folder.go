package huggingface

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/gitlfs"
)

// The files of a folder that we read.
const (
	configFile          = "config.json"
	generationFile      = "generation_config.json"
	indexFile           = "model.safetensors.index.json"
	singleFile          = "model.safetensors"
	tokenizerFile       = "tokenizer.json"
	sentencePieceFile   = "tokenizer.model"
	tokenizerConfigFile = "tokenizer_config.json"
	specialTokensFile   = "special_tokens_map.json"
	addedTokensFile     = "added_tokens.json"
	templateFile        = "chat_template.jinja"
	templateJSONFile    = "chat_template.json"
	cardFile            = "README.md"
)

// templateFolders hold further chat templates, one a file; transformers writes the first, and older versions of
// it and of the hub's tools wrote the second.
var templateFolders = []string{"additional_chat_templates", "chat_templates"}

// The largest files that are read whole. The largest tokenizer.json published has 34 MB.
const (
	maxConfig    = 4 << 20
	maxTemplate  = 1 << 20
	maxIndex     = 16 << 20
	maxTokenizer = 64 << 20
)

// folder is an open model folder. Files are opened through it alone: os.Root refuses names and links that lead
// outside.
type folder struct {
	root *os.Root
	sub  string // the folder inside root; "." unless it is a snapshot of the hub's cache
	name string // what the folder, or its repository, is called
}

// commit is the name of a folder that is a revision of a repository.
var commit = regexp.MustCompile(`^[0-9a-f]{40}$`)

// openFolder opens dir. In the cache of Hugging Face's hub a model's files are links from
// models--ORG--REPO/snapshots/REVISION to models--ORG--REPO/blobs: there the repository's folder is the border.
func openFolder(dir string) (*folder, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	f := &folder{sub: ".", name: filepath.Base(dir)}
	if commit.MatchString(f.name) { // a download of ours, REPO/COMMIT
		f.name = filepath.Base(filepath.Dir(dir))
	}
	snapshots := filepath.Dir(dir)
	repository := filepath.Dir(snapshots)
	if name, ok := strings.CutPrefix(filepath.Base(repository), "models--"); ok && filepath.Base(snapshots) == "snapshots" {
		f.sub = path.Join("snapshots", filepath.Base(dir))
		f.name = name[strings.LastIndex(name, "--")+len("--"):]
		if !strings.Contains(name, "--") {
			f.name = name
		}
		dir = repository
	}
	f.root, err = os.OpenRoot(dir)
	return f, err
}

func (f *folder) close() error { return f.root.Close() }

// open opens a file of the folder, which the caller closes. The error wraps fs.ErrNotExist where there is none,
// and ErrFormat where the name is no regular file inside the folder.
func (f *folder) open(name string) (*os.File, int64, error) {
	if !filepath.IsLocal(name) || strings.Contains(name, `\`) {
		return nil, 0, formatError(name, "the name leads out of the folder")
	}
	full := path.Join(f.sub, name)
	info, err := f.root.Stat(full) // first: opening a pipe would wait for its writer
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0, fmt.Errorf("%w: %s is missing: %w", ErrFormat, name, fs.ErrNotExist)
	case err != nil && strings.Contains(err.Error(), "escapes"):
		return nil, 0, formatError(name, "the link leads out of the folder")
	case err != nil:
		return nil, 0, fmt.Errorf("%s: %w", name, err)
	case !info.Mode().IsRegular():
		return nil, 0, formatError(name, "it is no file")
	}
	file, err := f.root.Open(full)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", name, err)
	}
	return file, info.Size(), nil
}

// read returns a file's bytes, at most limit of them. found is false where there is no such file.
func (f *folder) read(name string, limit int64) (data []byte, found bool, err error) {
	file, size, err := f.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer file.Close()
	if size > limit {
		return nil, true, formatError(name, "it has %d bytes, at most %d are read", size, limit)
	}
	data, err = io.ReadAll(io.LimitReader(file, limit))
	if err != nil {
		return nil, true, fmt.Errorf("%s: %w", name, err)
	}
	if err := gitlfs.Check(data); err != nil {
		return nil, true, formatError(name, "%w", err)
	}
	return data, true, nil
}

// list returns the names of the files in a folder below, sorted; none where it does not exist.
func (f *folder) list(name string) ([]string, error) {
	d, err := f.root.Open(path.Join(f.sub, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer d.Close()
	entries, err := d.ReadDir(1000)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	slices.Sort(names)
	return names, nil
}
