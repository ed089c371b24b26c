package adapters

import (
	"fmt"
	"io"
	"strings"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file merges what an adapter has beside its LoRAs: with a weight w, whole rows and biases that stand in the
// place of the base's add w (row - base row), those of lora_B w times themselves.

// ownTerm is one such part of a sum, of one tensor. Its values are read row by row, when they are added.
type ownTerm struct {
	t      *placed
	weight float32
	width  int         // values in a row; all of a bias
	rows   map[int]int // the tensor's rows that it has, by where; nil: all, in their order
	added  bool        // to the base's, not in their place
	bias   *bias       // whose values are permuted and scaled; nil: rows
}

// biasTensor is the base's bias beside a layer's weight.
func biasTensor(weight string) string { return strings.TrimSuffix(weight, "weight") + "bias" }

// Mergeable refuses, by the tensor's name, an adapter with a bias for a layer that has none in the base: a file of its
// architecture has no place for it.
func (a *Adapter) Mergeable(base *runtime.Facts) error {
	for _, b := range a.fitted.biases {
		if name := biasTensor(b.tensor); base.Biases[name] == 0 {
			return fmt.Errorf("%w: tensor %q is a bias of lora_B (lora_bias), and the base has no %s that it could be merged into",
				ErrUnsupported, b.t.Name, name)
		}
	}
	return nil
}

// wholeTensors are the base's tensors that the adapter changes beside those of its LoRAs.
func (a *Adapter) wholeTensors() (list []string) {
	for _, b := range a.fitted.biases {
		list = append(list, biasTensor(b.tensor))
	}
	for _, r := range a.fitted.rows {
		list = append(list, r.tensor)
	}
	return list
}

// whole returns what the adapter adds to a tensor beside its LoRAs.
func (a *Adapter) whole(tensor string, weight float32) (list []ownTerm) {
	for i := range a.fitted.biases {
		if b := &a.fitted.biases[i]; biasTensor(b.tensor) == tensor {
			list = append(list, ownTerm{t: b.t, weight: weight, width: b.rows, added: !b.replaces, bias: b})
		}
	}
	for _, r := range a.fitted.rows {
		if r.tensor != tensor {
			continue
		}
		o := ownTerm{t: r.t, weight: weight, width: r.width}
		if r.tokens != nil {
			o.rows = make(map[int]int, len(r.tokens))
			for k, token := range r.tokens {
				o.rows[int(token)] = k
			}
		}
		list = append(list, o)
	}
	return list
}

// add adds the term to sum, the part of a row of the base from column on, whose own values are w.
func (o *ownTerm) add(sum, w []float32, row, column int) error {
	if o.rows != nil {
		at, ok := o.rows[row]
		if !ok {
			return nil
		}
		row = at
	}
	v, err := o.values(row, column, len(w))
	for i, x := range v {
		if !o.added {
			x -= w[i]
		}
		sum[i] += o.weight * x
	}
	return err
}

// values reads n values of a row.
func (o *ownTerm) values(row, column, n int) ([]float32, error) {
	if o.bias != nil {
		b, err := o.bias.load()
		if err != nil {
			return nil, err
		}
		return b.Values[column : column+n], nil
	}
	return o.t.part(int64(row)*int64(o.width)+int64(column), n)
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
