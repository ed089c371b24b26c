// Package original lends the weights of the model that a base was quantized from: a GGUF file or a Hugging Face folder, mapped into
// memory and read where they lie.
package original

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/quant/huggingface"
)

// ErrOriginal is the error of a file or folder that is not the original of a base, or not one that can be read.
var ErrOriginal = errors.New("not the model that the base was quantized from")

// Model is an open original. Its methods may be called from any goroutine.
type Model struct {
	path    string
	view    *quant.File
	locate  func(tensor string) (huggingface.Matrix, error)
	closing []func() error

	mu   sync.Mutex
	maps map[*os.File][]byte
}

// Weight is a matrix (Out, In) of the original, row by row.
type Weight struct {
	Type    string // F32, F16 or BF16
	In, Out int
	Heads   int    // of q and k: the rows are in Hugging Face's order of so many heads; 0: in GGUF's
	Data    []byte // mapped, until Close
}

// Open opens the original of a base. The error wraps ErrOriginal where its architecture, its tokens or the shapes of its matrices are
// not the base's, and names what differs. The caller closes it.
func Open(path string, base *quant.File) (*Model, error) {
	m := &Model{path: path, maps: map[*os.File][]byte{}}
	if err := m.open(); err != nil {
		return nil, err
	}
	if err := m.check(base); err != nil {
		m.Close()
		return nil, fmt.Errorf("%s: %w: %w", path, ErrOriginal, err)
	}
	return m, nil
}

func (m *Model) open() error {
	info, err := os.Stat(m.path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		f, err := huggingface.Open(m.path)
		if err != nil {
			return err
		}
		m.view, m.locate, m.closing = f.View(), f.Matrix, []func() error{f.Close}
		return nil
	}
	f, err := quant.Open(m.path)
	if err != nil {
		return err
	}
	m.view, m.closing = f, []func() error{f.Close}
	file, err := os.Open(m.path)
	if err != nil {
		return errors.Join(err, m.Close())
	}
	m.closing = append(m.closing, file.Close)
	m.locate = func(tensor string) (huggingface.Matrix, error) {
		t, ok := f.Tensor(tensor)
		if !ok || len(t.Dims) != 2 {
			return huggingface.Matrix{}, fmt.Errorf("%w: there is no matrix %s", ErrOriginal, tensor)
		}
		return huggingface.Matrix{File: file, Offset: t.Offset, Size: t.Size, Type: t.Type, Dims: t.Dims}, nil
	}
	return nil
}

// check compares the original with the base.
func (m *Model) check(base *quant.File) error {
	mine, _ := quant.PlainArchitecture(m.view.Architecture())
	theirs, _ := quant.PlainArchitecture(base.Architecture())
	if mine != theirs {
		return fmt.Errorf("its architecture is %q, the base's %q", mine, theirs)
	}
	const tokens = "tokenizer.ggml.tokens"
	mineTokens, _ := m.view.Metadata.Strings(tokens)
	theirTokens, _ := base.Metadata.Strings(tokens)
	if !slices.Equal(mineTokens, theirTokens) {
		return errors.New("its tokenizer has other tokens")
	}
	for _, t := range base.Tensors {
		if len(t.Dims) != 2 {
			continue
		}
		if own, ok := m.view.Tensor(t.Name); !ok {
			return fmt.Errorf("it has no %s", t.Name)
		} else if !slices.Equal(own.Dims, t.Dims) {
			return fmt.Errorf("its %s is %v, the base's %v", t.Name, own.Dims, t.Dims)
		} else if strings.HasPrefix(t.Name, "blk.") && !isFloat(own.Type) {
			return fmt.Errorf("its %s is %s, F32, F16 or BF16 is needed", t.Name, own.Type)
		}
	}
	return nil
}

func isFloat(t quant.Type) bool { return t == quant.F32 || t == quant.F16 || t == quant.BF16 }

// Weight lends a matrix. The error wraps ErrOriginal and names one that is quantized or is not there.
func (m *Model) Weight(tensor string) (Weight, error) {
	x, err := m.locate(tensor)
	if err != nil {
		return Weight{}, fmt.Errorf("%s: %w", m.path, err)
	}
	if !isFloat(x.Type) {
		return Weight{}, fmt.Errorf("%w: %s of %s is %s, F32, F16 or BF16 is needed", ErrOriginal, tensor, m.path, x.Type)
	}
	data, err := m.mapped(x.File)
	if err != nil {
		return Weight{}, fmt.Errorf("%s: %w", m.path, err)
	}
	if x.Offset < 0 || x.Size < 1 || x.Offset+x.Size > int64(len(data)) {
		return Weight{}, fmt.Errorf("%w: %s: %s does not lie in the file", ErrOriginal, m.path, tensor)
	}
	return Weight{x.Type.String(), int(x.Dims[0]), int(x.Dims[1]), int(x.Heads), data[x.Offset : x.Offset+x.Size]}, nil
}

// mapped returns a file's bytes.
func (m *Model) mapped(f *os.File) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if data, ok := m.maps[f]; ok {
		return data, nil
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping %s: %w", f.Name(), err)
	}
	m.maps[f] = data
	return data, nil
}

// Close unmaps everything that was lent. It may be called twice.
func (m *Model) Close() (err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, data := range m.maps {
		err = errors.Join(err, unix.Munmap(data))
	}
	clear(m.maps)
	for _, do := range m.closing {
		err = errors.Join(err, do())
	}
	m.closing = nil
	return err
}
