package merge

import (
	"fmt"
	"strings"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file merges what an adapter has beside its LoRAs: with a weight w, whole rows, norms and biases that stand in
// the place of the base's add w (row - base row), those of lora_B w times themselves.

// ownTerm is one such part of a sum, of one tensor. Its values are read row by row, when they are added.
type ownTerm struct {
	weight float32
	width  int         // values in a row; all of a bias or a norm
	added  bool        // to the base's, not in their place
	bias   *peft.Bias  // nil: a norm or rows
	norm   *peft.Norm  // nil: a bias or rows
	rows   *peft.Rows  // nil: a bias or a norm
	places map[int]int // of the base's rows among those of rows; nil: all, in their order
}

// biasTensor is the base's bias beside a layer's weight.
func biasTensor(weight string) string { return strings.TrimSuffix(weight, "weight") + "bias" }

// checkPlaces refuses, by the tensor's name, an adapter with a bias for a layer that has none in the base: a file of
// its architecture has no place for it.
func checkPlaces(base *runtime.Facts, a *peft.Adapter) error {
	for i := range a.Biases {
		b := &a.Biases[i]
		if name := biasTensor(b.Tensor); base.Biases[name] == 0 {
			return fmt.Errorf("%w: tensor %q is a bias of lora_B (lora_bias), and the base has no %s that it could be merged into",
				peft.ErrUnsupported, b.Name(), name)
		}
	}
	return nil
}

// wholeTensors are the base's tensors that the adapter changes beside those of its LoRAs.
func wholeTensors(a *peft.Adapter) (list []string) {
	for i := range a.Biases {
		list = append(list, biasTensor(a.Biases[i].Tensor))
	}
	for i := range a.Rows {
		list = append(list, a.Rows[i].Tensor)
	}
	for i := range a.Norms {
		list = append(list, a.Norms[i].Tensor)
	}
	return list
}

// wholeOf returns what the adapter adds to a tensor beside its LoRAs.
func wholeOf(a *peft.Adapter, tensor string, weight float32) (list []ownTerm) {
	for i := range a.Biases {
		if b := &a.Biases[i]; biasTensor(b.Tensor) == tensor {
			list = append(list, ownTerm{weight: weight, width: b.Outputs, added: !b.Replaces, bias: b})
		}
	}
	for i := range a.Norms {
		if n := &a.Norms[i]; n.Tensor == tensor {
			list = append(list, ownTerm{weight: weight, width: n.Width, norm: n})
		}
	}
	for i := range a.Rows {
		r := &a.Rows[i]
		if r.Tensor != tensor {
			continue
		}
		o := ownTerm{weight: weight, width: r.Width, rows: r}
		if r.Tokens != nil {
			o.places = make(map[int]int, len(r.Tokens))
			for k, token := range r.Tokens {
				o.places[int(token)] = k
			}
		}
		list = append(list, o)
	}
	return list
}

// add adds the term to sum, the part of a row of the base from column on, whose own values are w.
func (o *ownTerm) add(sum, w []float32, row, column int) error {
	if o.places != nil {
		at, ok := o.places[row]
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
		b, err := o.bias.Load()
		if err != nil {
			return nil, err
		}
		return b.Values[column : column+n], nil
	}
	if o.norm != nil {
		own, err := o.norm.Load()
		if err != nil {
			return nil, err
		}
		return own.Values[column : column+n], nil
	}
	return o.rows.Part(int64(row)*int64(o.width)+int64(column), n)
}
