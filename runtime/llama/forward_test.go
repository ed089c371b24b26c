//go:build cgo && linux

package llama

import (
	"fmt"
	"math"

	"github.com/lorikeet-ai/lorikeet/quant/huggingface/hftest"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// forward computes a model from the tensors and the configuration as transformers has them, with sums in float64: the
// oracle of import. It knows nothing of GGUF. Rows of x are tokens.
type forward struct {
	m                 *hftest.Model
	hidden, head      int
	heads, kvHeads    int
	epsilon           float64
	frequencies       []float64 // of rotary pair i, which is made of the values i and head/2 + i
	attentionOfRotary float64   // yarn scales cosines and sines
}

func newForward(m *hftest.Model) *forward {
	f := &forward{m: m, hidden: hftest.Hidden, heads: hftest.Heads, kvHeads: hftest.KVHeads, attentionOfRotary: 1}
	f.epsilon = m.Config["rms_norm_eps"].(float64)
	f.head = f.hidden / f.heads
	if h, ok := m.Config["head_dim"].(int); ok {
		f.head = h
	}
	theta := number(m.Config, "rope_theta", 10000)
	scaling, _ := m.Config["rope_scaling"].(map[string]any)
	if p, ok := m.Config["rope_parameters"].(map[string]any); ok {
		scaling, theta = p, number(p, "rope_theta", 10000)
	}
	for i := range f.head / 2 {
		f.frequencies = append(f.frequencies, math.Pow(theta, -2*float64(i)/float64(f.head)))
	}
	f.scale(scaling, theta)
	return f
}

// number is a field of the configuration, or what is taken where it is missing.
func number(c map[string]any, field string, missing float64) float64 {
	switch x := c[field].(type) {
	case float64:
		return x
	case int:
		return float64(x)
	}
	return missing
}

// scale changes the frequencies as rope_scaling says.
func (f *forward) scale(s map[string]any, theta float64) {
	kind, _ := s["rope_type"].(string)
	if kind == "" {
		kind, _ = s["type"].(string)
	}
	factor, original := number(s, "factor", 1), number(s, "original_max_position_embeddings", 512)
	half, pi2 := float64(f.head), 2*math.Pi
	rotations := func(n float64) float64 { return half * math.Log(original/(n*pi2)) / (2 * math.Log(theta)) }
	low, high := max(math.Floor(rotations(32)), 0), min(math.Ceil(rotations(1)), half-1)
	for i, w := range f.frequencies {
		switch kind {
		case "linear":
			f.frequencies[i] = w / factor
		case "llama3":
			lowest, highest := number(s, "low_freq_factor", 0), number(s, "high_freq_factor", 0)
			turns := original * w / pi2 // in the context of the first training
			smooth := min(max((turns-lowest)/(highest-lowest), 0), 1)
			f.frequencies[i] = (1-smooth)*w/factor + smooth*w
		case "yarn":
			ramp := min(max((float64(i)-low)/max(high-low, 0.001), 0), 1)
			f.frequencies[i] = ramp*w/factor + (1-ramp)*w
		}
	}
	if kind == "yarn" {
		f.attentionOfRotary = number(s, "attention_factor", 0.1*math.Log(factor)+1)
	}
}

// linear is x W^T + b for a layer's name without ".weight".
func (f *forward) linear(x [][]float64, name string) [][]float64 {
	w, shape := f.m.Tensors[name+".weight"], f.m.Shapes[name+".weight"]
	bias := f.m.Tensors[name+".bias"]
	rows, row := int(shape[0]), int(shape[1])
	out := make([][]float64, len(x))
	for t := range x {
		out[t] = make([]float64, rows)
		for r := range rows {
			sum := 0.0
			for i, v := range x[t] {
				sum += v * float64(w[r*row+i])
			}
			if bias != nil {
				sum += float64(bias[r])
			}
			out[t][r] = sum
		}
	}
	return out
}

// norm is RMSNorm of each part of x that is as long as the weight.
func (f *forward) norm(x []float64, name string) []float64 {
	w := f.m.Tensors[name]
	out := make([]float64, len(x))
	for begin := 0; begin < len(x); begin += len(w) {
		part := x[begin : begin+len(w)]
		sum := 0.0
		for _, v := range part {
			sum += v * v
		}
		scale := 1 / math.Sqrt(sum/float64(len(w))+f.epsilon)
		for i, v := range part {
			out[begin+i] = v * scale * float64(w[i])
		}
	}
	return out
}

func (f *forward) norms(x [][]float64, name string) [][]float64 {
	out := make([][]float64, len(x))
	for t := range x {
		out[t] = f.norm(x[t], name)
	}
	return out
}

// rotate turns the pairs of every head of x, which stands at position t.
func (f *forward) rotate(x []float64, t int) {
	half := f.head / 2
	for h := 0; h < len(x); h += f.head {
		for i, w := range f.frequencies {
			sin, cos := math.Sincos(float64(t) * w)
			a, b := x[h+i], x[h+half+i]
			x[h+i] = (a*cos - b*sin) * f.attentionOfRotary
			x[h+half+i] = (b*cos + a*sin) * f.attentionOfRotary
		}
	}
}

// attention is causal softmax attention; several query heads share a head of keys and values.
func (f *forward) attention(q, k, v [][]float64) [][]float64 {
	out := make([][]float64, len(q))
	for t := range q {
		out[t] = make([]float64, len(q[t]))
		for h := range f.heads {
			at, shared := h*f.head, h/(f.heads/f.kvHeads)*f.head
			weights, sum := make([]float64, t+1), 0.0
			for s := range weights {
				for i := range f.head {
					weights[s] += q[t][at+i] * k[s][shared+i]
				}
				weights[s] = math.Exp(weights[s] / math.Sqrt(float64(f.head)))
				sum += weights[s]
			}
			for s, w := range weights {
				for i := range f.head {
					out[t][at+i] += w / sum * v[s][shared+i]
				}
			}
		}
	}
	return out
}

func (f *forward) layer(x [][]float64, n int) {
	p := fmt.Sprintf("model.layers.%d.", n)
	h := f.norms(x, p+"input_layernorm.weight")
	q, k, v := f.linear(h, p+"self_attn.q_proj"), f.linear(h, p+"self_attn.k_proj"), f.linear(h, p+"self_attn.v_proj")
	if f.m.Tensors[p+"self_attn.q_norm.weight"] != nil {
		q, k = f.norms(q, p+"self_attn.q_norm.weight"), f.norms(k, p+"self_attn.k_norm.weight")
	}
	for t := range x {
		f.rotate(q[t], t)
		f.rotate(k[t], t)
	}
	add(x, f.linear(f.attention(q, k, v), p+"self_attn.o_proj"))
	h = f.norms(x, p+"post_attention_layernorm.weight")
	gate, up := f.linear(h, p+"mlp.gate_proj"), f.linear(h, p+"mlp.up_proj")
	for t := range gate {
		for i, g := range gate[t] {
			up[t][i] *= g / (1 + math.Exp(-g))
		}
	}
	add(x, f.linear(up, p+"mlp.down_proj"))
}

func add(x, y [][]float64) {
	for t := range x {
		for i := range x[t] {
			x[t][i] += y[t][i]
		}
	}
}

// logits returns the logits of every token.
func (f *forward) logits(tokens []runtime.Token) [][]float32 {
	x := make([][]float64, len(tokens))
	embedding := f.m.Tensors["model.embed_tokens.weight"]
	for t, token := range tokens {
		for _, v := range embedding[int(token)*f.hidden:][:f.hidden] {
			x[t] = append(x[t], float64(v))
		}
	}
	for n := range hftest.Layers {
		f.layer(x, n)
	}
	head := "lm_head"
	if f.m.Config["tie_word_embeddings"] == true {
		head = "model.embed_tokens"
	}
	y := f.linear(f.norms(x, "model.norm.weight"), head)
	out := make([][]float32, len(y))
	for t := range y {
		for _, v := range y[t] {
			out[t] = append(out[t], float32(v))
		}
	}
	return out
}
