package training

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/training/dataset"
	"github.com/lorikeet-ai/lorikeet/training/loss"
)

// This file keeps what the reference model says of a job's examples: the log-probability of each answer. The reference model is the
// base with the adapter switched off, or where the job trains on from an adapter, that adapter as it was. It is asked
// once, before the first step. reference.bin is, little-endian: referenceMagic; of both sets the number of values and the values, as
// 64-bit floating-point numbers; and the CRC-32 of all that.

const (
	referenceFile  = "reference.bin"
	referenceMagic = "LKRF0001"
)

// referenceBytes is what a run keeps in memory for each of its examples, besides exampleBytes.
const referenceBytes = 16

// references are the values of a job's two sets. Of each example there are two: of a pair those of the chosen and of the rejected
// answer, of an answer with a label its own and that of another one behind its prompt (see divergence.go).
type references struct {
	train, eval referenceSet
	of          func(*exampleSet) *referenceSet
}

type referenceSet struct{ values []float64 }

// openReferences reads the values, or computes and keeps them where there are none yet.
func (r *run) openReferences(ctx context.Context) (*references, error) {
	x := &references{}
	x.of = func(s *exampleSet) *referenceSet {
		if s == &r.set.eval {
			return &x.eval
		}
		return &x.train
	}
	name := r.q.inJob(r.job.ID, referenceFile)
	err := r.readReferences(x, r.q.disk.path(name))
	if err == nil {
		return x, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: what the reference model said: %w", ErrDamaged, err)
	}
	if r.state.Step > 0 {
		return nil, fmt.Errorf("%w: what the reference model said is missing", ErrDamaged)
	}
	r.q.tell(r.j, LevelInfo, fmt.Sprintf("Asking the reference model about %d examples.", len(r.set.train.lengths)+len(r.set.eval.lengths)))
	for _, s := range []*exampleSet{&r.set.train, &r.set.eval} {
		if x.of(s).values, err = r.askReference(ctx, s); err != nil {
			return nil, err
		}
	}
	return x, r.q.retryWhileFull(ctx, r.j, func() error { return r.q.disk.put(name, x.write) })
}

// askReference computes the values of a set.
func (r *run) askReference(ctx context.Context, s *exampleSet) ([]float64, error) {
	values := make([]float64, 2*len(s.lengths))
	all := make([]int, len(s.lengths))
	for i := range all {
		all[i] = i
	}
	for _, part := range dataset.Split(s.lengths, all, r.most) {
		if r.pausing() {
			return nil, errPaused
		}
		list, err := s.read(part)
		if err != nil {
			return nil, err
		}
		b := dataset.Batch(list, 1)
		b.Base = r.referenceIsBase()
		res, err := r.compute(ctx, runtime.TrainEval, b)
		if err != nil {
			return nil, err
		}
		ends, from := b.Ends, 0
		for i := range list {
			for which := range sequencesOf(s.kind) {
				values[2*part[i]+which] = loss.Total(res.LogProbs[from:ends[0]], b.Labels[from:ends[0]], completionOf(&list[i]))
				from, ends = ends[0], ends[1:]
			}
		}
	}
	if s.kind != dataset.UnpairedPreference || len(all) == 0 {
		return values, nil
	}
	err := r.overMismatched(ctx, s, all, r.referenceIsBase(), func(at int, total float64) { values[2*at+1] = total })
	return values, err
}

// referenceIsBase reports whether the reference model is the base. Otherwise it is the adapter before the first step.
func (r *run) referenceIsBase() bool { return r.job.Start == nil }

// write writes the file.
func (x *references) write(w io.Writer) error {
	var b bytes.Buffer
	b.WriteString(referenceMagic)
	for _, s := range []*referenceSet{&x.train, &x.eval} {
		_ = binary.Write(&b, binary.LittleEndian, uint32(len(s.values))) // a Buffer returns no error
		_ = binary.Write(&b, binary.LittleEndian, s.values)
	}
	_ = binary.Write(&b, binary.LittleEndian, crc32.ChecksumIEEE(b.Bytes()))
	_, err := w.Write(b.Bytes())
	return disk.NoSpace(err)
}

// readReferences reads the file. The error wraps fs.ErrNotExist where there is none.
func (r *run) readReferences(x *references, path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	want := len(referenceMagic) + 2*4 + 4
	for _, s := range []*exampleSet{&r.set.train, &r.set.eval} {
		want += 2 * 8 * len(s.lengths)
	}
	if len(raw) != want || string(raw[:len(referenceMagic)]) != referenceMagic ||
		crc32.ChecksumIEEE(raw[:len(raw)-4]) != binary.LittleEndian.Uint32(raw[len(raw)-4:]) {
		return fmt.Errorf("it is not what was stored: %d bytes, where %d are expected", len(raw), want)
	}
	in := bytes.NewReader(raw[len(referenceMagic) : len(raw)-4])
	for _, s := range []*exampleSet{&r.set.train, &r.set.eval} {
		var count uint32
		if err := binary.Read(in, binary.LittleEndian, &count); err != nil {
			return err
		}
		if int(count) != 2*len(s.lengths) {
			return fmt.Errorf("it has %d values for %d examples", count, len(s.lengths))
		}
		x.of(s).values = make([]float64, count)
		if err := binary.Read(in, binary.LittleEndian, x.of(s).values); err != nil {
			return err
		}
	}
	return nil
}
