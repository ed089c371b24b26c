package adapters

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/internal/disk"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Part is one file of an upload. Body must stay readable until the adapter is put.
type Part struct {
	Name string // its file name
	Body io.ReaderAt
	Size int64
	Done func() // is called when Body is not read again though more is to be written; may be nil
}

// opener makes sources of adapters in their various forms.
type opener struct {
	ctx         context.Context
	fs          fileSystem
	facts       *runtime.Facts
	maxBytes    int64
	scratch     string    // a folder for what is unpacked; the caller removes it
	inFiles     Templates // the adapter's own chat templates that are files
	inTokenizer Templates // and those in the configuration of its tokenizer

	share    *disk.Share // of the Store's budget; nil: the bytes are not counted
	reserved bool
}

// reserve waits until the bytes that will be held in files are free in the Store's budget. Only the first call does
// so: it is given all that the adapter takes.
func (o *opener) reserve(bytes int64) error {
	if o.reserved || o.share == nil {
		return nil
	}
	o.reserved = true
	return o.share.Wait(o.ctx, max(bytes, workFactor*o.maxBytes/maxPuts))
}

// upload opens what a user sent: a GGUF LoRA file, an archive, or PEFT's two files, perhaps with a chat template.
func (o *opener) upload(parts []Part) (*peft.Source, error) {
	var total int64
	for _, p := range parts {
		if total += p.Size; p.Size > o.maxBytes || total > o.maxBytes {
			return nil, o.tooLarge("the upload")
		}
		if isPickle(p.Name) {
			return nil, pickleError(p.Name)
		}
	}
	switch len(parts) {
	case 0:
		return nil, fmt.Errorf("%w: the upload has no files", peft.ErrFormat)
	case 1:
		return o.file(parts[0])
	}
	return o.twoFiles(parts)
}

func (o *opener) tooLarge(what string) error {
	return fmt.Errorf("%w: %s has more than %d bytes", ErrTooLarge, what, o.maxBytes)
}

// maxGGUFGrowth is how much larger a GGUF LoRA file may become: 4 bits become F32.
const maxGGUFGrowth = 8

// file opens a single file, known by its first bytes.
func (o *opener) file(p Part) (*peft.Source, error) {
	if p.Size > o.maxBytes {
		return nil, o.tooLarge(fmt.Sprintf("%q", p.Name))
	}
	head := make([]byte, min(p.Size, 512))
	if n, err := p.Body.ReadAt(head, 0); n < len(head) {
		return nil, fmt.Errorf("%w: %q is shorter than stated: %w", peft.ErrFormat, p.Name, err)
	}
	switch {
	case bytes.HasPrefix(head, []byte("GGUF")):
		if err := o.reserve(min(p.Size*maxGGUFGrowth, o.maxBytes)); err != nil {
			return nil, err
		}
		return peft.FromGGUF(o.facts, p.Body, p.Size)
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return o.zip(p)
	case bytes.HasPrefix(head, []byte("\x1f\x8b")), len(head) > 262 && string(head[257:262]) == "ustar":
		return o.tar(p, head[0] == 0x1f)
	}
	switch base := path.Base(p.Name); {
	case base == peft.ConfigFile:
		return nil, fmt.Errorf("%w: %s is missing beside %s", peft.ErrFormat, peft.TensorsFile, peft.ConfigFile)
	case strings.HasSuffix(base, ".safetensors"):
		return nil, fmt.Errorf("%w: %s is missing beside %s", peft.ErrFormat, peft.ConfigFile, base)
	}
	return nil, fmt.Errorf("%w: %q is neither a GGUF file nor a .zip, .tar or .tar.gz archive", peft.ErrFormat, p.Name)
}

// twoFiles opens adapter_config.json and adapter_model.safetensors.
func (o *opener) twoFiles(parts []Part) (*peft.Source, error) {
	find := func(name string) int {
		return slices.IndexFunc(parts, func(p Part) bool { return path.Base(p.Name) == name })
	}
	c, t := find(peft.ConfigFile), find(peft.TensorsFile)
	for i, p := range parts {
		switch base := path.Base(p.Name); {
		case i == c || i == t:
		case !isTemplateFile(base):
			return nil, fmt.Errorf("%w: file %q is not expected; %s and %s are, and %s, %s or %s", peft.ErrFormat, p.Name, peft.ConfigFile,
				peft.TensorsFile, TemplateFile, ToolTemplateFile, tokenizerFile)
		default:
			if err := o.readTemplate(base, io.NewSectionReader(p.Body, 0, p.Size)); err != nil {
				return nil, err
			}
		}
	}
	if c < 0 || t < 0 {
		return nil, fmt.Errorf("%w: the upload lacks %s or %s", peft.ErrFormat, peft.ConfigFile, peft.TensorsFile)
	}
	return o.peft(parts[c], parts[t])
}

// peft opens the two files of a PEFT adapter.
func (o *opener) peft(c, t Part) (*peft.Source, error) {
	if t.Size > o.maxBytes {
		return nil, o.tooLarge(peft.TensorsFile)
	}
	if err := o.reserve(t.Size); err != nil {
		return nil, err
	}
	return peft.Read(io.NewSectionReader(c.Body, 0, c.Size), io.NewSectionReader(t.Body, 0, t.Size))
}

// folder opens an adapter folder; open opens a file of it by name.
func (o *opener) folder(open func(name string) (*os.File, error)) (*peft.Source, error) {
	var files []*os.File
	closeAll := func() {
		for _, f := range files {
			f.Close()
		}
	}
	var parts [2]Part
	for i, name := range []string{peft.ConfigFile, peft.TensorsFile} {
		f, err := open(name)
		if errors.Is(err, fs.ErrNotExist) && name == peft.TensorsFile {
			if bin, e := open(pickleFile); e == nil {
				bin.Close()
				err = pickleError(pickleFile)
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %s is missing", peft.ErrFormat, name)
		}
		if err == nil {
			files = append(files, f)
			parts[i], err = filePart(f, name)
		}
		if err != nil {
			closeAll()
			return nil, err
		}
	}
	s, err := o.peft(parts[0], parts[1])
	if err == nil {
		err = o.folderTemplates(open)
	}
	if err != nil {
		closeAll()
		return nil, err
	}
	s.OnClose(closeAll)
	return s, nil
}

// filePart makes a Part of an open file, which must be a regular one.
func filePart(f *os.File, name string) (Part, error) {
	info, err := f.Stat()
	if err != nil {
		return Part{}, err
	}
	if !info.Mode().IsRegular() {
		return Part{}, fmt.Errorf("%w: %s is not a regular file", peft.ErrFormat, name)
	}
	return Part{Name: name, Body: f, Size: info.Size()}, nil
}

// pickleFile is the old form of PEFT's tensors.
const pickleFile = "adapter_model.bin"

// isPickle reports whether a file has a name that PyTorch gives its pickles.
func isPickle(name string) bool {
	switch path.Ext(name) {
	case ".bin", ".pt", ".pth", ".pkl", ".ckpt":
		return true
	}
	return false
}

func pickleError(name string) error {
	return fmt.Errorf("%w: %s is a Python pickle, which can run code when it is read: save the adapter again with "+
		"model.save_pretrained(folder), which writes %s", peft.ErrUnsupported, path.Base(name), peft.TensorsFile)
}
