package training

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/internal/disk"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file is the adapter that a job trains on from. The job has a copy of it, so that it may be deleted. start.bin is,
// little-endian: startMagic; the number of bytes of a JSON list of modules without their values, and that list; of each module
// A, B and the magnitude, or of a norm its weight, as 32-bit floating-point numbers; and the CRC-32 of all that.

const (
	startFile  = "start.bin"
	startMagic = "LKST0001"
)

// Start is the adapter that a job trains on from.
type Start struct {
	Name    string                `json:"name"`
	Version string                `json:"version"` // short, as adapters.Info has it
	Digest  string                `json:"digest"`
	Modules []runtime.TrainModule `json:"modules"` // what it changes: the job trains the same
	Norms   []string              `json:"norms,omitempty"`
}

// String is how a request names it.
func (s *Start) String() string { return adapters.Ref{Name: s.Name, Version: s.Version}.String() }

// startHead is a module without its values, or a norm.
type startHead struct {
	Tensor        string
	Rank, In, Out int
	Scale         float32
	Magnitude     int // values
	Norm          int `json:",omitempty"` // values of a norm, which has nothing else
}

// copyStart puts a copy of the adapter that ref names into a folder, and has the configuration train its modules. The error is
// that of adapters.Store.Load, or a FieldError where it cannot be trained on.
func (q *Queue) copyStart(folder string, ref adapters.Ref, c *Config) (*Start, error) {
	info, lora, err := q.o.Store.Load(ref)
	if err != nil {
		return nil, err
	}
	if what := untrainable(lora); what != "" {
		return nil, &FieldError{Field: "from", Reason: fmt.Sprintf("is %s, which has %s: that cannot be trained on", ref, what)}
	}
	s := &Start{Name: info.Name, Version: info.Version, Digest: info.Digest}
	for i := range lora.Modules {
		m := &lora.Modules[i]
		s.Modules = append(s.Modules, runtime.TrainModule{Tensor: m.Tensor, Rank: m.Rank, Scale: m.Scale, DoRA: m.Magnitude != nil})
	}
	for i := range lora.Norms {
		s.Norms = append(s.Norms, lora.Norms[i].Tensor)
	}
	slices.Sort(s.Norms)
	c.Rank, c.Alpha, c.RSLoRA, c.DoRA = info.Rank, info.Alpha, info.RSLoRA, info.DoRA
	c.TargetModules = slices.DeleteFunc(slices.Clone(info.Targets), func(name string) bool {
		_, err := peft.TrainedNorms(q.o.Model.Facts(), []string{name})
		return err == nil
	})
	if c.ModulesToSave, err = peft.SavedNames(q.o.Model.Facts(), s.Norms); err != nil {
		return nil, err
	}
	c.start, c.Invocation, c.InvocationString = s, lora.Invocation, ""
	f, err := os.OpenFile(filepath.Join(folder, startFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, disk.NoSpace(err)
	}
	defer f.Close()
	if err := writeStart(f, lora); err != nil {
		return nil, disk.NoSpace(err)
	}
	return s, disk.NoSpace(f.Sync())
}

// untrainable says what an adapter has that is not trained; "": nothing.
func untrainable(lora *runtime.LoRA) string {
	switch {
	case len(lora.Biases) > 0:
		return "a bias of its own (" + lora.Biases[0].Tensor + ")"
	case len(lora.Rows) > 0:
		return "rows of its own (" + lora.Rows[0].Tensor + ")"
	case len(lora.Modules) == 0:
		return "no LoRA"
	}
	return ""
}

// writeStart writes the file.
func writeStart(f io.Writer, lora *runtime.LoRA) error {
	sum := crc32.NewIEEE()
	buf := bufio.NewWriterSize(io.MultiWriter(f, sum), 64<<10)
	var heads []startHead
	for i := range lora.Modules {
		m := &lora.Modules[i]
		heads = append(heads, startHead{m.Tensor, m.Rank, m.In, m.Out, m.Scale, len(m.Magnitude), 0})
	}
	for _, n := range lora.Norms {
		heads = append(heads, startHead{Tensor: n.Tensor, Norm: len(n.Values)})
	}
	raw, err := json.Marshal(heads)
	if err != nil {
		return err
	}
	b := binary.LittleEndian.AppendUint32([]byte(startMagic), uint32(len(raw)))
	if _, err := buf.Write(append(b, raw...)); err != nil {
		return err
	}
	var all [][]float32
	for i := range lora.Modules {
		m := &lora.Modules[i]
		all = append(all, m.A, m.B, m.Magnitude)
	}
	for _, n := range lora.Norms {
		all = append(all, n.Values)
	}
	for _, values := range all {
		for _, v := range values {
			if _, err := buf.Write(binary.LittleEndian.AppendUint32(b[:0], math.Float32bits(v))); err != nil {
				return err
			}
		}
	}
	if err := buf.Flush(); err != nil {
		return err
	}
	return binary.Write(f, binary.LittleEndian, sum.Sum32())
}

// readStart returns the adapter that the run trains on from, nil for a new one. The error wraps ErrDamaged.
func (r *run) readStart() (*runtime.LoRA, error) {
	if r.job.Start == nil {
		return nil, nil
	}
	f, err := os.Open(r.q.disk.path(r.q.inJob(r.job.ID, startFile)))
	if err != nil {
		return nil, fmt.Errorf("%w: the adapter that it trains on from: %w", ErrDamaged, err)
	}
	defer f.Close()
	lora, err := parseStart(f)
	if err != nil {
		return nil, fmt.Errorf("%w: the adapter that it trains on from is not what was stored: %w", ErrDamaged, err)
	}
	lora.Invocation = r.job.Config.Invocation
	return lora, nil
}

// parseStart reads the file.
func parseStart(f *os.File) (*runtime.LoRA, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	s := &summing{r: bufio.NewReaderSize(f, 64<<10), left: info.Size() - 4, sum: crc32.NewIEEE()}
	head := make([]byte, len(startMagic)+4)
	if _, err := io.ReadFull(s, head); err != nil || string(head[:len(startMagic)]) != startMagic {
		return nil, fmt.Errorf("it begins with %q: %w", head, err)
	}
	n := int64(binary.LittleEndian.Uint32(head[len(startMagic):]))
	if n > s.left {
		return nil, io.ErrUnexpectedEOF
	}
	raw := make([]byte, n)
	if _, err := io.ReadFull(s, raw); err != nil {
		return nil, err
	}
	var heads []startHead
	if err := json.Unmarshal(raw, &heads); err != nil {
		return nil, err
	}
	lora := &runtime.LoRA{}
	for _, h := range heads {
		if h.Norm != 0 {
			values, err := s.floats(h.Norm)
			if err != nil {
				return nil, err
			}
			lora.Norms = append(lora.Norms, runtime.LoRANorm{Tensor: h.Tensor, Values: values})
			continue
		}
		m := runtime.LoRAModule{Tensor: h.Tensor, Rank: h.Rank, In: h.In, Out: h.Out, Scale: h.Scale}
		for _, part := range []struct {
			to   *[]float32
			size int
		}{{&m.A, h.Rank * h.In}, {&m.B, h.Rank * h.Out}, {&m.Magnitude, h.Magnitude}} {
			if *part.to, err = s.floats(part.size); err != nil {
				return nil, err
			}
		}
		lora.Modules = append(lora.Modules, m)
	}
	want := make([]byte, 4)
	if _, err := f.ReadAt(want, info.Size()-4); err != nil {
		return nil, err
	}
	if s.left != 0 || s.sum.Sum32() != binary.LittleEndian.Uint32(want) {
		return nil, fmt.Errorf("its checksum is another, and %d bytes are left", s.left)
	}
	return lora, nil
}

// floats reads n numbers, nil for none.
func (s *summing) floats(n int) ([]float32, error) {
	if n == 0 {
		return nil, nil
	}
	if n < 0 || int64(n) > s.left/4 {
		return nil, io.ErrUnexpectedEOF
	}
	list := make([]float32, n)
	for at := 0; at < n; {
		piece := s.piece[:4*min(n-at, len(s.piece)/4)]
		if _, err := io.ReadFull(s, piece); err != nil {
			return nil, err
		}
		for i := 0; i < len(piece); i += 4 {
			list[at] = math.Float32frombits(binary.LittleEndian.Uint32(piece[i:]))
			at++
		}
	}
	return list, nil
}
