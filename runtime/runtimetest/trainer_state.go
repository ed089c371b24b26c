package runtimetest

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// WriteState writes weights, moments, steps and random state.
func (t *Trainer) WriteState(w io.Writer) error {
	t.start()
	b := binary.LittleEndian.AppendUint64(nil, t.spec.Seed)
	b = binary.LittleEndian.AppendUint64(b, uint64(t.steps))
	b = binary.LittleEndian.AppendUint64(b, t.random)
	for _, row := range [][]float32{t.weights, t.mean, t.square} {
		for _, v := range row {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
	}
	_, err := w.Write(b)
	return err
}

// ReadState takes up a state.
func (t *Trainer) ReadState(r io.Reader, size int64) error {
	if err := t.free(); err != nil {
		return err
	}
	if size != int64(24+12*len(t.weights)) {
		return fmt.Errorf("%w: a state of %d bytes is not of this trainer", runtime.ErrTrain, size)
	}
	state := make([]byte, size)
	if _, err := io.ReadFull(r, state); err != nil {
		return err
	}
	if seed := binary.LittleEndian.Uint64(state); seed != t.spec.Seed {
		return fmt.Errorf("%w: a state with the seed %d is not of this trainer", runtime.ErrTrain, seed)
	}
	t.started = true
	t.steps, t.random = int64(binary.LittleEndian.Uint64(state[8:])), binary.LittleEndian.Uint64(state[16:])
	state = state[24:]
	for _, row := range [][]float32{t.weights, t.mean, t.square} {
		for i := range row {
			row[i] = math.Float32frombits(binary.LittleEndian.Uint32(state[4*i:]))
		}
		state = state[4*len(row):]
	}
	t.begun = false
	return nil
}

// Reseed changes the seed.
func (t *Trainer) Reseed(seed uint64) {
	t.spec.Seed, t.random = seed, seed
	rng := rand.New(rand.NewPCG(seed, 1))
	for _, a := range t.first { // from which the base is computed
		for i := range a {
			a[i] = float32(rng.NormFloat64())
		}
	}
}

// ResetOptimizer forgets the moments.
func (t *Trainer) ResetOptimizer() error {
	if err := t.free(); err != nil {
		return err
	}
	clear(t.mean)
	clear(t.square)
	t.steps, t.begun, t.result = 0, false, runtime.TrainResult{}
	return nil
}

// Close may be called twice.
func (t *Trainer) Close() error {
	t.closed.Store(true)
	return nil
}
