package training

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/training/dataset"
)

// This file keeps the examples of a job: a run that goes on sees the tokens it began with, even where the
// template prints the date. examples.bin is, little-endian: examplesMagic; twice (training, validation) the number
// of examples and for each the number of its tokens, the tokens and the labels; and the CRC-32 of all that. Numbers
// have 32 bits.

const examplesMagic = "LKEX0001"

// examples are the two sets of a job.
type examples struct{ train, eval []dataset.Example }

func writeExamples(d folder, name string, set *examples) error {
	return d.put(name, func(w io.Writer) error {
		sum := crc32.NewIEEE()
		out := io.MultiWriter(w, sum)
		if _, err := io.WriteString(out, examplesMagic); err != nil {
			return err
		}
		for _, list := range [][]dataset.Example{set.train, set.eval} {
			if err := writeList(out, list); err != nil {
				return err
			}
		}
		return binary.Write(w, binary.LittleEndian, sum.Sum32())
	})
}

func writeList(w io.Writer, list []dataset.Example) error {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(list)))
	for _, x := range list {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(x.Tokens)))
		for _, row := range [][]runtime.Token{x.Tokens, x.Labels} {
			for _, t := range row {
				b = binary.LittleEndian.AppendUint32(b, uint32(t))
			}
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		b = b[:0]
	}
	_, err := w.Write(b) // of an empty list
	return err
}

// readExamples reads what writeExamples wrote. The error wraps ErrDamaged where it is not whole.
func readExamples(path string) (*examples, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	n := len(data) - 4
	if n < len(examplesMagic) || string(data[:len(examplesMagic)]) != examplesMagic ||
		crc32.ChecksumIEEE(data[:n]) != binary.LittleEndian.Uint32(data[n:]) {
		return nil, fmt.Errorf("%w: its examples are not what was stored", ErrDamaged)
	}
	r := words{data[len(examplesMagic):n]}
	return &examples{r.list(), r.list()}, nil
}

// words reads numbers that a checksum vouches for.
type words struct{ data []byte }

func (r *words) next() uint32 {
	v := binary.LittleEndian.Uint32(r.data)
	r.data = r.data[4:]
	return v
}

func (r *words) list() []dataset.Example {
	list := make([]dataset.Example, r.next())
	for i := range list {
		n := r.next()
		list[i] = dataset.Example{Tokens: r.tokens(n), Labels: r.tokens(n)}
	}
	return list
}

func (r *words) tokens(n uint32) []runtime.Token {
	list := make([]runtime.Token, n)
	for i := range list {
		list[i] = runtime.Token(r.next())
	}
	return list
}
