package training

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/training/dataset"
)

// This file keeps the examples of a job: a run that goes on sees the tokens it began with, even where the
// template prints the date. examples.bin is, little-endian: examplesMagic; twice (training, validation) the number
// of examples and for each the number of its tokens, the tokens and the labels; and the CRC-32 of all that. Numbers
// have 32 bits. The examples stay on disk: a run reads those of a micro-batch when it computes it.

const examplesMagic = "LKEX0001"

// exampleBytes is what a run keeps in memory for each of its examples, with what their order takes.
const exampleBytes = 48

// exampleSet is one of the two sets of a job. Its examples lie one after the other in its file.
type exampleSet struct {
	file     io.ReaderAt
	lengths  []int   // tokens
	labelled []int32 // of them, those that are learned
	offsets  []int64 // of the tokens in the file
}

// add notes an example of n tokens, whose record, which begins with n, is at offset.
func (s *exampleSet) add(offset int64, n, labelled int) {
	s.lengths = append(s.lengths, n)
	s.labelled = append(s.labelled, int32(labelled))
	s.offsets = append(s.offsets, offset+4)
}

// learned returns how many tokens of the examples in list are learned.
func (s *exampleSet) learned(list []int) (n int) {
	for _, i := range list {
		n += int(s.labelled[i])
	}
	return n
}

// read returns the examples in list.
func (s *exampleSet) read(list []int) ([]dataset.Example, error) {
	out := make([]dataset.Example, len(list))
	for at, i := range list {
		n := s.lengths[i]
		raw := make([]byte, 8*n)
		if _, err := s.file.ReadAt(raw, s.offsets[i]); err != nil {
			return nil, fmt.Errorf("%w: its examples: %w", ErrDamaged, err)
		}
		out[at] = dataset.Example{Tokens: tokensOf(raw[:4*n]), Labels: tokensOf(raw[4*n:])}
	}
	return out, nil
}

func tokensOf(raw []byte) []runtime.Token {
	list := make([]runtime.Token, len(raw)/4)
	for i := range list {
		list[i] = runtime.Token(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return list
}

// examples are the two sets of a job. Close frees the file.
type examples struct {
	io.Closer
	train, eval exampleSet
}

// appendExample writes an example as examples.bin has it.
func appendExample(b []byte, x *dataset.Example) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(x.Tokens)))
	for _, row := range [][]runtime.Token{x.Tokens, x.Labels} {
		for _, t := range row {
			b = binary.LittleEndian.AppendUint32(b, uint32(t))
		}
	}
	return b
}

// recordBytes is how many bytes appendExample writes for n tokens.
func recordBytes(n int) int64 { return 4 + 8*int64(n) }

// writeExamples puts examples into their file, in the order of the two lists. from has the record of every example.
func writeExamples(d folder, name string, from *exampleSet, train, eval []int) error {
	return d.put(name, func(w io.Writer) error {
		sum := crc32.NewIEEE()
		out := io.MultiWriter(w, sum)
		if _, err := io.WriteString(out, examplesMagic); err != nil {
			return err
		}
		for _, list := range [][]int{train, eval} {
			if err := binary.Write(out, binary.LittleEndian, uint32(len(list))); err != nil {
				return err
			}
			for _, i := range list {
				r := io.NewSectionReader(from.file, from.offsets[i]-4, recordBytes(from.lengths[i]))
				if _, err := io.Copy(out, r); err != nil {
					return err
				}
			}
		}
		return binary.Write(w, binary.LittleEndian, sum.Sum32())
	})
}

// openExamples opens what writeExamples wrote, and reads all of it once. The error wraps ErrDamaged where it is not whole.
// The caller closes them.
func openExamples(path string) (*examples, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	x := &examples{Closer: f, train: exampleSet{file: f}, eval: exampleSet{file: f}}
	if err := x.index(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: its examples are not what was stored: %w", ErrDamaged, err)
	}
	return x, nil
}

// index reads the whole file for where its examples are.
func (x *examples) index(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	r := &summing{r: bufio.NewReaderSize(f, 64<<10), left: info.Size() - 4, sum: crc32.NewIEEE()}
	magic := make([]byte, len(examplesMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != examplesMagic {
		return fmt.Errorf("it begins with %q: %w", magic, err)
	}
	for _, set := range []*exampleSet{&x.train, &x.eval} {
		count, err := r.number()
		if err != nil {
			return err
		}
		for range count {
			at := info.Size() - 4 - r.left
			n, err := r.number()
			if err != nil {
				return err
			}
			labelled, err := r.countLabels(int64(n))
			if err != nil {
				return err
			}
			set.add(at, int(n), labelled)
		}
	}
	want := make([]byte, 4)
	if _, err := f.ReadAt(want, info.Size()-4); err != nil {
		return err
	}
	if r.left != 0 || r.sum.Sum32() != binary.LittleEndian.Uint32(want) {
		return fmt.Errorf("its checksum is another, and %d bytes are left", r.left)
	}
	return nil
}

// summing reads up to left bytes and sums them up.
type summing struct {
	r     io.Reader
	left  int64
	sum   hash.Hash32
	piece [16 << 10]byte // what is being read; a multiple of 4
}

func (s *summing) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, io.EOF
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	_, _ = s.sum.Write(p[:n]) // a checksum takes everything
	return n, err
}

// countLabels reads n tokens and as many labels, and counts the labels that are tokens.
func (s *summing) countLabels(n int64) (count int, err error) {
	if _, err := io.CopyBuffer(io.Discard, io.LimitReader(s, 4*n), s.piece[:]); err != nil {
		return 0, err
	}
	for left := 4 * n; left > 0; {
		part := s.piece[:min(left, int64(len(s.piece)))]
		if _, err := io.ReadFull(s, part); err != nil {
			return 0, err
		}
		for ; len(part) > 0; part = part[4:] {
			if runtime.Token(binary.LittleEndian.Uint32(part)) >= 0 {
				count++
			}
			left -= 4
		}
	}
	return count, nil
}

func (s *summing) number() (uint32, error) {
	word := s.piece[:4]
	_, err := io.ReadFull(s, word)
	return binary.LittleEndian.Uint32(word), err
}
