package huggingface

import (
	"errors"
	"fmt"
	"os"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// Folder is an open model folder whose matrices are read where they lie.
type Folder struct {
	m      *model
	wanted map[string]wanted // matrices by their GGUF names
}

// Matrix is where a matrix of a folder lies: row by row, in one of its files.
type Matrix struct {
	File         *os.File
	Offset, Size int64
	Type         quant.Type
	Dims         []int64 // as GGUF has them: the length of a row first
	Heads        int64   // of q and k, whose rows GGUF has in another order, by so many heads; 0: in this one
}

// Open reads all of the folder dir but the weights, as Import does. The caller closes it.
func Open(dir string) (*Folder, error) {
	m, err := open(dir, Options{Type: "keep"})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	f := &Folder{m: m, wanted: map[string]wanted{}}
	list := m.config.headTensors()
	for n := range m.config.Layers {
		list = append(list, m.config.layerTensors(n)...)
	}
	for _, x := range list {
		if len(x.shape) == 2 {
			f.wanted[x.gguf] = x
		}
	}
	return f, nil
}

// Close closes the files.
func (f *Folder) Close() error {
	f.m.close()
	return nil
}

// View returns the folder as a GGUF file, until Close.
func (f *Folder) View() *quant.File { return f.m.view }

// Matrix finds a matrix by its GGUF name. The error names one that is not there, or that does not lie there as numbers.
func (f *Folder) Matrix(name string) (Matrix, error) {
	x, ok := f.wanted[name]
	if !ok {
		return Matrix{}, fmt.Errorf("%w: the model has no %s", ErrFormat, name)
	}
	t := f.m.shards.tensors[x.hf]
	typ, ok := types[t.DType]
	file, isFile := t.r.(*os.File)
	if !ok || !isFile || len(t.Shape) != 2 {
		return Matrix{}, t.err(errors.New("it is quantized"))
	}
	return Matrix{file, t.Offset, t.Size, typ, []int64{x.shape[1], x.shape[0]}, x.heads}, nil
}
