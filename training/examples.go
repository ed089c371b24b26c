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
// template prints the date. examples.bin is, little-endian: a magic; for other kinds than Supervised the kind; twice
// (training, validation) the number of examples and each of them; and the CRC-32 of all that. An example is the words of
// its head, its tokens and as many labels, of a pair those of the chosen sequence and then those of the rejected one, and
// the line, where it is kept. Numbers have 32 bits. The examples stay on disk: a run reads those of a micro-batch when it
// computes it.

// The magics: of supervised examples and of the other kinds.
const (
	examplesMagic     = "LKEX0001"
	kindExamplesMagic = "LKEX0002"
)

// exampleHead is the words at the beginning of an example. Of a supervised example the first one alone is written.
type exampleHead struct {
	Tokens    uint32 // of all sequences
	First     uint32 // of the first sequence
	Prompt    uint32
	Desirable uint32 // 1 or 0
	Line      uint32 // bytes
}

// headBytes is how many bytes of an exampleHead are written.
func headBytes(kind dataset.Kind) int64 {
	if kind == dataset.Supervised {
		return 4
	}
	return int64(binary.Size(exampleHead{}))
}

// readHead reads the head of an example.
func readHead(r io.Reader, kind dataset.Kind) (h exampleHead, err error) {
	if kind != dataset.Supervised {
		err = binary.Read(r, binary.LittleEndian, &h)
		if err == nil && (h.First > h.Tokens || h.Prompt > h.First) {
			err = fmt.Errorf("an example of %d tokens begins with a sequence of %d and a prompt of %d", h.Tokens, h.First, h.Prompt)
		}
		return h, err
	}
	err = binary.Read(r, binary.LittleEndian, &h.Tokens)
	h.First = h.Tokens
	return h, err
}

// bytes is how many bytes the example has with its head.
func (h *exampleHead) bytes(kind dataset.Kind) int64 {
	return headBytes(kind) + 8*int64(h.Tokens) + int64(h.Line)
}

// exampleBytes is what a run keeps in memory for each of its examples, with what their order takes.
const exampleBytes = 48

// exampleSet is one of the two sets of a job. Its examples lie one after the other in its file.
type exampleSet struct {
	file     io.ReaderAt
	kind     dataset.Kind
	lengths  []int   // tokens, of a pair those of both sequences
	labelled []int32 // of them, those that are learned
	offsets  []int64 // of the examples in the file
}

// add notes an example of n tokens, which is at offset.
func (s *exampleSet) add(offset int64, n, labelled int) {
	s.lengths = append(s.lengths, n)
	s.labelled = append(s.labelled, int32(labelled))
	s.offsets = append(s.offsets, offset)
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
		var err error
		if out[at], err = s.readOne(i); err != nil {
			return nil, fmt.Errorf("%w: its examples: %w", ErrDamaged, err)
		}
	}
	return out, nil
}

// batch returns the examples in list as a micro-batch, whose losses are divided by norm.
func (s *exampleSet) batch(list []int, norm float64) (runtime.TrainBatch, error) {
	examples, err := s.read(list)
	if err != nil {
		return runtime.TrainBatch{}, err
	}
	return dataset.Batch(examples, norm), nil
}

// readOne returns one example.
func (s *exampleSet) readOne(i int) (x dataset.Example, err error) {
	head, err := readHead(io.NewSectionReader(s.file, s.offsets[i], headBytes(s.kind)), s.kind)
	if err != nil {
		return x, err
	}
	if int(head.Tokens) != s.lengths[i] {
		return x, fmt.Errorf("an example has %d tokens and had %d", head.Tokens, s.lengths[i])
	}
	raw := make([]byte, 8*int64(head.Tokens)+int64(head.Line))
	if _, err := s.file.ReadAt(raw, s.offsets[i]+headBytes(s.kind)); err != nil {
		return x, err
	}
	next := func(n uint32) dataset.Sequence {
		q := dataset.Sequence{Tokens: tokensOf(raw[:4*n]), Labels: tokensOf(raw[4*n : 8*n])}
		raw = raw[8*n:]
		return q
	}
	x.Sequence = next(head.First)
	if head.First < head.Tokens {
		x.Rejected = next(head.Tokens - head.First)
	}
	x.Prompt, x.Desirable = int(head.Prompt), head.Desirable != 0
	if len(raw) > 0 {
		x.Line = raw
	}
	return x, nil
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
func appendExample(b []byte, kind dataset.Kind, x *dataset.Example) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(x.Length()))
	if kind != dataset.Supervised {
		desirable := uint32(0)
		if x.Desirable {
			desirable = 1
		}
		for _, word := range []uint32{uint32(len(x.Tokens)), uint32(x.Prompt), desirable, uint32(len(x.Line))} {
			b = binary.LittleEndian.AppendUint32(b, word)
		}
	}
	for _, tokens := range [][]runtime.Token{x.Tokens, x.Labels, x.Rejected.Tokens, x.Rejected.Labels} {
		for _, t := range tokens {
			b = binary.LittleEndian.AppendUint32(b, uint32(t))
		}
	}
	return append(b, x.Line...)
}

// writeExamples puts examples into their file, in the order of the two lists. from has the record of every example.
func writeExamples(d folder, name string, from *exampleSet, train, eval []int) error {
	return d.put(name, func(w io.Writer) error {
		sum := crc32.NewIEEE()
		out := io.MultiWriter(w, sum)
		if err := writeMagic(out, from.kind); err != nil {
			return err
		}
		for _, list := range [][]int{train, eval} {
			if err := binary.Write(out, binary.LittleEndian, uint32(len(list))); err != nil {
				return err
			}
			for _, i := range list {
				if err := from.copyOne(out, i); err != nil {
					return err
				}
			}
		}
		return binary.Write(w, binary.LittleEndian, sum.Sum32())
	})
}

// writeMagic writes how the file begins.
func writeMagic(w io.Writer, kind dataset.Kind) error {
	if kind == dataset.Supervised {
		_, err := io.WriteString(w, examplesMagic)
		return err
	}
	_, err := w.Write(binary.LittleEndian.AppendUint32([]byte(kindExamplesMagic), uint32(kind)))
	return err
}

// copyOne writes an example as it is.
func (s *exampleSet) copyOne(w io.Writer, i int) error {
	head, err := readHead(io.NewSectionReader(s.file, s.offsets[i], headBytes(s.kind)), s.kind)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, io.NewSectionReader(s.file, s.offsets[i], head.bytes(s.kind)))
	return err
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
	kind, err := readMagic(r)
	if err != nil {
		return err
	}
	for _, set := range []*exampleSet{&x.train, &x.eval} {
		set.kind = kind
		count, err := r.number()
		if err != nil {
			return err
		}
		for range count {
			at := info.Size() - 4 - r.left
			head, labelled, err := r.example(kind)
			if err != nil {
				return err
			}
			set.add(at, int(head.Tokens), labelled)
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

// readMagic reads how the file begins.
func readMagic(r *summing) (dataset.Kind, error) {
	magic := make([]byte, len(examplesMagic))
	_, err := io.ReadFull(r, magic)
	switch {
	case err == nil && string(magic) == examplesMagic:
		return dataset.Supervised, nil
	case err != nil || string(magic) != kindExamplesMagic:
		return 0, fmt.Errorf("it begins with %q: %w", magic, err)
	}
	kind, err := r.number()
	if err == nil && (kind < uint32(dataset.Preference) || kind > uint32(dataset.PromptOnly)) {
		err = fmt.Errorf("its examples are of the kind %d", kind)
	}
	return dataset.Kind(kind), err
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

// example reads an example, and counts its labels.
func (s *summing) example(kind dataset.Kind) (head exampleHead, labelled int, err error) {
	if head, err = readHead(s, kind); err != nil {
		return head, 0, err
	}
	for _, n := range []uint32{head.First, head.Tokens - head.First} {
		count, err := s.countLabels(int64(n))
		if err != nil {
			return head, 0, err
		}
		labelled += count
	}
	_, err = io.CopyBuffer(io.Discard, io.LimitReader(s, int64(head.Line)), s.piece[:])
	return head, labelled, err
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
