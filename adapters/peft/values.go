package peft

import (
	"fmt"
	"io"
	"math"
)

// This file reads the values of an adapter's tensors and refuses those that are not finite.

// finite reads the values and refuses NaN and infinity.
func (t *placed) finite() ([]float32, error) {
	v, err := t.Float32()
	if err != nil {
		return nil, err
	}
	return v, t.checkFinite(v, 0)
}

// checkFinite refuses NaN and infinity in a part of the values, whose first is number first.
func (t *placed) checkFinite(v []float32, first int64) error {
	if allFinite(v) {
		return nil
	}
	for i, x := range v {
		if math.Float32bits(x)&0x7f800000 == 0x7f800000 {
			return fmt.Errorf("%w: tensor %q: value %d is %v", ErrUnsupported, t.Name, first+int64(i), x)
		}
	}
	return nil
}

// allFinite tests them without a branch for each: x*0 is NaN for those that are not, and 0 for the others.
func allFinite(v []float32) bool {
	var a, b, c, d float32
	for ; len(v) >= 4; v = v[4:] {
		a += v[0] * 0
		b += v[1] * 0
		c += v[2] * 0
		d += v[3] * 0
	}
	for _, x := range v {
		a += x * 0
	}
	return a+b+c+d == 0
}

// part reads n values from the first on, and refuses NaN and infinity.
func (t *placed) part(first int64, n int) ([]float32, error) {
	r, err := t.open()
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	at, ok := r.(io.ReaderAt)
	if !ok { // it is in memory
		v, err := t.finite()
		if err != nil {
			return nil, err
		}
		return v[first : first+int64(n)], nil
	}
	size := t.DType.size()
	raw, v := make([]byte, int64(n)*size), make([]float32, n)
	if err := readAt(at, raw, first*size); err != nil {
		return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	t.DType.decode(v, raw)
	return v, t.checkFinite(v, first)
}

// openFinite is open, whose reader fails at a value that is not finite. The values are computed or read once.
func (t *placed) openFinite() (io.Reader, error) {
	r, err := t.open()
	if err != nil {
		return nil, err
	}
	return &finiteReader{t: t, r: r}, nil
}

// finiteReader passes on the raw values of a tensor and checks them on their way.
type finiteReader struct {
	t      *placed
	r      io.Reader
	done   int64     // values checked
	rest   []byte    // of a value of which the beginning was read
	values []float32 // reused
}

func (f *finiteReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	raw := p[:n]
	if len(f.rest) > 0 {
		raw = append(f.rest, raw...)
	}
	size := int(f.t.DType.size())
	whole := len(raw) / size
	if cap(f.values) < whole {
		f.values = make([]float32, whole)
	}
	values := f.values[:whole]
	f.t.DType.decode(values, raw[:whole*size])
	if e := f.t.checkFinite(values, f.done); e != nil {
		return 0, e
	}
	f.done += int64(whole)
	f.rest = append([]byte(nil), raw[whole*size:]...)
	return n, err
}
