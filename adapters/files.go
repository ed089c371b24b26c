package adapters

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
)

// This file has the files of a Store whose Storage is its folder. In it are
//
//	versions/DIGEST/{adapter_config.json,adapter_model.safetensors,manifest.json} and perhaps chat_template.jinja and tool_use.jinja
//	names/NAME.json   the versions a name has pointed at
//	checkpoints/NAME.json   the labelled versions of a name in training
//	tmp/              what is being written; emptied by Open
//	lock              held while a Store is open
//
// A folder under versions and a file under names appear whole, by a rename, after their content is on the disk.

const manifestFile = "manifest.json"

// manifest describes a version. It is not part of what the digest covers.
type manifest struct {
	Digest string `json:"digest"`
	Base   string `json:"base"` // fingerprint
	peft.Summary
	Files   map[string]int64   `json:"files"` // bytes of the other files
	Bytes   int64              `json:"bytes"` // of them all
	Created time.Time          `json:"created"`
	Origin  Origin             `json:"origin"`
	Metrics map[string]float64 `json:"metrics,omitempty"`
}

// nameRecord is a file under names, or under checkpoints.
type nameRecord struct {
	Name     string     `json:"name"`
	Versions []pointing `json:"versions"` // oldest first; the name points at the last
	revision uint64     // as the Storage counts
}

// pointing is one version that a name has pointed at, with the note that it was put with.
type pointing struct {
	Digest  string             `json:"digest"`
	Label   string             `json:"label,omitempty"`  // of a checkpoint
	Pinned  bool               `json:"pinned,omitempty"` // kept however many versions come after it
	Created time.Time          `json:"created"`
	Origin  Origin             `json:"origin"`
	Metrics map[string]float64 `json:"metrics,omitempty"`
}

// current is the version the name points at.
func (r *nameRecord) current() *pointing { return &r.Versions[len(r.Versions)-1] }

// shortDigest is how versions are shown.
func shortDigest(digest string) string { return digest[:12] }

// readManifest reads and checks the manifest of the version in dir. The lengths of its files are compared,
// their content is when it is loaded.
func readManifest(dir string) (*manifest, error) {
	data, err := checkedManifest(dir)
	if err != nil {
		return nil, err
	}
	return parseManifest(filepath.Base(dir), data)
}

// checkedManifest is readManifest without its meaning.
func checkedManifest(dir string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(filepath.Base(dir), data)
	if err != nil {
		return nil, err
	}
	files := []string{peft.ConfigFile, peft.TensorsFile}
	for _, name := range []string{TemplateFile, ToolTemplateFile} {
		if m.Files[name] > 0 {
			files = append(files, name)
		}
	}
	for _, name := range files {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if info.Size() != m.Files[name] {
			return nil, fmt.Errorf("%s has %d bytes, its manifest says %d", name, info.Size(), m.Files[name])
		}
	}
	return data, nil
}

// parseManifest reads the manifest of a version.
func parseManifest(digest string, data []byte) (*manifest, error) {
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", manifestFile, err)
	}
	if m.Digest != digest {
		return nil, fmt.Errorf("its manifest is of version %s", m.Digest)
	}
	return &m, nil
}

// readName reads and checks a file under names.
func readName(path string) (*nameRecord, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseName(strings.TrimSuffix(filepath.Base(path), ".json"), data)
}

// parseName reads and checks the record of a name.
func parseName(name string, data []byte) (*nameRecord, error) {
	var r nameRecord
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("%s.json: %w", name, err)
	}
	if CheckName(r.Name) != nil || r.Name != name {
		return nil, fmt.Errorf("it is of the name %q", r.Name)
	}
	for _, v := range r.Versions {
		if !isHex(v.Digest, 2*sha256.Size) {
			return nil, fmt.Errorf("it has the version %q", v.Digest)
		}
	}
	if len(r.Versions) == 0 {
		return nil, errors.New("it has no versions")
	}
	return &r, nil
}

// writer writes files for one put.
type writer struct {
	ctx context.Context // a write fails with its cause once it has ended
	fs  fileSystem
}

func (s *Store) writer(ctx context.Context) writer { return writer{ctx, s.fs} }

// version writes the canonical form of an adapter into dir, which it makes, and puts it on the disk. Every value is
// looked at: the error wraps peft.ErrUnsupported where one is not finite.
func (x writer) version(dir string, a *peft.Adapter, templates Templates, m *manifest) error {
	if err := x.fs.Mkdir(dir); err != nil {
		return err
	}
	configJSON, tensors, err := a.Canonical()
	if err != nil {
		return err
	}
	sum := newDigest(int64(len(configJSON)), templates.Tools != "")
	m.Files = make(map[string]int64)
	if m.Files[peft.ConfigFile], err = x.file(filepath.Join(dir, peft.ConfigFile), func(w io.Writer) error {
		_, err := io.MultiWriter(w, sum).Write(configJSON)
		return err
	}); err != nil {
		return err
	}
	if m.Files[peft.TensorsFile], err = x.file(filepath.Join(dir, peft.TensorsFile), func(w io.Writer) error {
		return peft.WriteTensors(io.MultiWriter(w, sum), tensors)
	}); err != nil {
		return err
	}
	m.Bytes = m.Files[peft.ConfigFile] + m.Files[peft.TensorsFile]
	for _, t := range []struct{ name, text string }{{TemplateFile, templates.Default}, {ToolTemplateFile, templates.Tools}} {
		if t.text == "" {
			continue
		}
		if m.Files[t.name], err = x.file(filepath.Join(dir, t.name), func(w io.Writer) error {
			beginTemplate(sum, t.name, int64(len(t.text)))
			_, err := io.WriteString(io.MultiWriter(w, sum), t.text)
			return err
		}); err != nil {
			return err
		}
		m.Bytes += m.Files[t.name]
	}
	m.Digest = hex.EncodeToString(sum.Sum(nil))
	if err := x.json(filepath.Join(dir, manifestFile), m); err != nil {
		return err
	}
	return x.fs.SyncDir(dir)
}

// newDigest begins a version's digest: the length of its configuration, then both files follow, and its chat template, where
// it has one. The tensors' file says itself where it ends. Where there is a template for tools, the highest bit of the length
// is set, and the template for tools follows after its own length.
func newDigest(configBytes int64, tools bool) hash.Hash {
	h := sha256.New()
	begin := uint64(configBytes)
	if tools {
		begin |= 1 << 63
	}
	h.Write(binary.LittleEndian.AppendUint64(nil, begin))
	return h
}

// beginTemplate puts what stands before a template into a digest.
func beginTemplate(h hash.Hash, name string, bytes int64) {
	if name == ToolTemplateFile {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(bytes)))
	}
}

// DigestOf computes the digest of the version in dir from its files.
func DigestOf(dir string) (string, error) {
	var sum hash.Hash
	templates := templateFiles(dir)
	for _, name := range append([]string{peft.ConfigFile, peft.TensorsFile}, templates...) {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return "", err
		}
		if sum == nil {
			sum = newDigest(info.Size(), slices.Contains(templates, ToolTemplateFile))
		}
		beginTemplate(sum, name, info.Size())
		if _, err := io.Copy(sum, f); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// file writes a new file and puts it on the disk. It returns the file's length.
func (x writer) file(path string, write func(io.Writer) error) (n int64, err error) {
	f, err := x.fs.Create(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := &countingWriter{ctx: x.ctx, fs: x.fs, f: f}
	if err := write(w); err != nil {
		return 0, err
	}
	return w.n, x.fs.Sync(f)
}

func (x writer) json(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = x.file(path, func(w io.Writer) error {
		_, err := w.Write(append(data, '\n'))
		return err
	})
	return err
}

// countingWriter writes to a file until ctx has ended.
type countingWriter struct {
	ctx context.Context
	fs  fileSystem
	f   *os.File
	n   int64 // bytes written
}

func (w *countingWriter) Write(b []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	n, err := w.fs.Write(w.f, b)
	w.n += int64(n)
	return n, err
}
