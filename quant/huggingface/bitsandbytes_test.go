package huggingface

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/x448/float16"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/quant/huggingface/hftest"
)

// coded is a matrix as bitsandbytes quantizes it, written from its documentation and not from our reader.
type coded struct {
	codes  []byte    // one a weight
	absmax []float32 // one a block of 64, after double quantization
	files  []hftest.Tensor
}

// quantizeNF4 quantizes values of shape (rows, row) in blocks of 64, the absmax in turn in blocks of 256 if nested.
func quantizeNF4(name string, values []float32, shape []int64, nested bool) coded {
	var c coded
	for b := 0; b < len(values); b += 64 {
		m := float32(0)
		for _, x := range values[b : b+64] {
			m = max(m, float32(math.Abs(float64(x))))
		}
		for _, x := range values[b : b+64] {
			best := 0
			for code, v := range quant.NF4Codebook {
				if math.Abs(float64(x/m-v)) < math.Abs(float64(x/m-quant.NF4Codebook[best])) {
					best = code
				}
			}
			c.codes = append(c.codes, byte(best))
		}
		c.absmax = append(c.absmax, m)
	}
	packed := make([]byte, len(values)/2)
	for i := range packed {
		packed[i] = c.codes[2*i]<<4 | c.codes[2*i+1]
	}
	state := map[string]any{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": shape}
	c.files = []hftest.Tensor{
		hftest.U8(name, packed, int64(len(packed)), 1),
		hftest.F32(name+".quant_map", quant.NF4Codebook[:], 16),
	}
	if nested {
		c.nest(name, state)
	} else {
		c.files = append(c.files, hftest.F32(name+".absmax", c.absmax, int64(len(c.absmax))))
	}
	text := hftest.JSON(state)
	c.files = append(c.files, hftest.U8(name+".quant_state.bitsandbytes__nf4", text, int64(len(text))))
	return c
}

// nest quantizes absmax: minus its mean, in blocks of 256 relative to their largest, to the nearest of 256 values.
func (c *coded) nest(name string, state map[string]any) {
	mean := float32(0)
	for _, m := range c.absmax {
		mean += m / float32(len(c.absmax))
	}
	table := make([]float32, 256)
	for i := range table {
		x := float64(i)/127.5 - 1
		table[i] = float32(x * math.Abs(x)) // finer around zero, as theirs is
	}
	codes, scales := make([]byte, len(c.absmax)), []float32(nil)
	for b := 0; b < len(codes); b += 256 {
		block := c.absmax[b:min(b+256, len(codes))]
		largest := float32(0)
		for _, m := range block {
			largest = max(largest, float32(math.Abs(float64(m-mean))))
		}
		scales = append(scales, largest)
		for i, m := range block {
			best := 0
			for k, v := range table {
				if math.Abs(float64((m-mean)/largest-v)) < math.Abs(float64((m-mean)/largest-table[best])) {
					best = k
				}
			}
			codes[b+i] = byte(best)
			block[i] = table[best]*largest + mean
		}
	}
	state["nested_blocksize"], state["nested_dtype"], state["nested_offset"] = 256, "float32", mean
	c.files = append(c.files, hftest.U8(name+".absmax", codes, int64(len(codes))),
		hftest.F32(name+".nested_absmax", scales, int64(len(scales))), hftest.F32(name+".nested_quant_map", table, 256))
}

// prequantized is a model whose layers are quantized.
func prequantized(kind string, nested bool) (m *hftest.Model, layers map[string]coded, tensors []hftest.Tensor) {
	m = hftest.Random(kind, 3)
	m.Config["quantization_config"] = map[string]any{"quant_method": "bitsandbytes", "load_in_4bit": true, "load_in_8bit": false,
		"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": nested, "bnb_4bit_compute_dtype": "bfloat16"}
	layers = map[string]coded{}
	for _, name := range m.Names {
		if strings.HasSuffix(name, "_proj.weight") {
			layers[name] = quantizeNF4(name, m.Tensors[name], m.Shapes[name], nested)
			tensors = append(tensors, layers[name].files...)
			continue
		}
		tensors = append(tensors, hftest.BF16(name, m.Tensors[name], m.Shapes[name]...))
	}
	return m, layers, tensors
}

func prequantizedFolder(t testing.TB, m *hftest.Model, tensors []hftest.Tensor) string {
	files := m.Files()
	files["model.safetensors"] = hftest.Safetensors(tensors)
	dir := t.TempDir()
	hftest.WriteFiles(t, dir, files)
	return dir
}

// TestBitsandbytesCodes: every code of a quantized checkpoint is in our file, with its block's absmax, and what is
// decoded to float32 is code times absmax to the bit.
func TestBitsandbytesCodes(t *testing.T) {
	for _, nested := range []bool{false, true} {
		for _, kind := range []string{"llama", "qwen2"} {
			t.Run(fmt.Sprintf("%s nested=%t", kind, nested), func(t *testing.T) {
				m, layers, tensors := prequantized(kind, nested)
				dir := prequantizedFolder(t, m, tensors)
				nf4, report := imported(t, dir, Options{Type: "nf4"})
				floats, _ := imported(t, dir, Options{Type: "f32"})
				if !report.Prequantized || !nf4.NF4() || floats.NF4() {
					t.Fatalf("%+v; marked %t and %t", report, nf4.NF4(), floats.NF4())
				}
				for name, c := range layers {
					checkCodes(t, nf4, floats, name, c, m.Shapes[name][0], kind == "llama")
				}
			})
		}
	}
}

// TestBitsandbytesStorage: what trains sharded (FSDP) keeps the codes as a float type; their bytes are the same.
func TestBitsandbytesStorage(t *testing.T) {
	m, layers, tensors := prequantized("llama", true)
	for i, x := range tensors {
		if _, ok := layers[x.Name]; ok {
			tensors[i].DType, tensors[i].Shape = "BF16", []int64{x.Shape[0] / 2, 1}
		}
	}
	dir := prequantizedFolder(t, m, tensors)
	nf4, _ := imported(t, dir, Options{Type: "nf4"})
	floats, _ := imported(t, dir, Options{Type: "f32"})
	for name, c := range layers {
		checkCodes(t, nf4, floats, name, c, m.Shapes[name][0], true)
	}
}

// checkCodes compares one matrix, row by row.
func checkCodes(t *testing.T, nf4, floats *quant.File, hf string, c coded, rows int64, permuted bool) {
	t.Helper()
	var layer int
	var middle string
	fmt.Sscanf(hf, "model.layers.%d.%s", &layer, &middle)
	middle = strings.TrimSuffix(middle, ".weight")
	name := fmt.Sprintf("blk.%d.%s.weight", layer, map[string]string{
		"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
		"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}[middle])
	decoded, err := floats.ReadF32(name)
	if err != nil {
		t.Fatal(err)
	}
	raw := rawTensor(t, nf4, name)
	width := int64(len(c.codes)) / rows
	heads := map[string]int64{"attn_q": hftest.Heads, "attn_k": hftest.KVHeads}[strings.Split(name, ".")[2]]
	for row := range rows {
		at := row
		if permuted && heads > 0 {
			size := rows / heads
			at = row/size*size + 2*(row%size%(size/2)) + row%size/(size/2)
		}
		for i := range width {
			from, to := row*width+i, at*width+i
			code, absmax := c.codes[from], c.absmax[from/64]
			if want := quant.NF4Codebook[code] * absmax; decoded[to] != want {
				t.Fatalf("%s: weight %d of row %d is %g, not %g", hf, i, row, decoded[to], want)
			}
			gotCode, gotScale := blockCode(raw, to)
			if gotCode != code || gotScale != float16.Fromfloat32(absmax) {
				t.Fatalf("%s: weight %d of row %d has code %d and absmax %v, not %d and %g", hf, i, row, gotCode, gotScale, code, absmax)
			}
		}
	}
}

func rawTensor(t *testing.T, f *quant.File, name string) []byte {
	t.Helper()
	r, err := f.TensorReader(name)
	if err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, r.Size())
	if _, err := r.ReadAt(raw, 0); err != nil {
		t.Fatal(err)
	}
	return raw
}

// blockCode returns code and absmax of weight i, of blocks of 64: an fp16, and 16 bytes of codes for each half.
func blockCode(raw []byte, i int64) (byte, float16.Float16) {
	block := raw[i/64*34:][:34]
	code := block[2+i%64/32*16+i%16]
	if i%32 >= 16 {
		code >>= 4
	}
	return code & 15, float16.Frombits(binary.LittleEndian.Uint16(block))
}

// TestBitsandbytesRefusals: what a quantized checkpoint lacks or has otherwise is named.
func TestBitsandbytesRefusals(t *testing.T) {
	const q = "model.layers.0.self_attn.q_proj.weight"
	change := func(name string, to func(*hftest.Tensor)) func([]hftest.Tensor) []hftest.Tensor {
		return func(list []hftest.Tensor) []hftest.Tensor {
			out := []hftest.Tensor{}
			for _, x := range list {
				if x.Name == q+name {
					if to == nil {
						continue
					}
					to(&x)
				}
				out = append(out, x)
			}
			return out
		}
	}
	text := func(s string) func(*hftest.Tensor) {
		return func(x *hftest.Tensor) { x.Data, x.Shape = []byte(s), []int64{int64(len(s))} }
	}
	state := func(more string) func(*hftest.Tensor) {
		return text(`{"quant_type":"nf4","blocksize":64,"shape":[64,64],"nested_blocksize":256,"nested_offset":0.1` + more + `}`)
	}
	for want, c := range map[string]func([]hftest.Tensor) []hftest.Tensor{
		`"` + q + `.absmax", which belongs to it`:                        change(".absmax", nil),
		`"` + q + `.quant_state.bitsandbytes__nf4", which belongs to it`: change(".quant_state.bitsandbytes__nf4", nil),
		`tensor "` + q + `.quant_state.bitsandbytes__nf4": invalid`:      change(".quant_state.bitsandbytes__nf4", text("\x00{")),
		"blocksize is 128, not 64":                                       change(".quant_state.bitsandbytes__nf4", state(`,"blocksize":128`)),
		"shape is [64 32], config.json calls for [64 64]":                change(".quant_state.bitsandbytes__nf4", state(`,"shape":[64,32]`)),
		`quant_type is "fp4"`:                                            change(".quant_state.bitsandbytes__nf4", state(`,"quant_type":"fp4"`)),
		"nested_blocksize is -1":                                         change(".quant_state.bitsandbytes__nf4", state(`,"nested_blocksize":-1`)),
		"bitsandbytes' fp4 is not supported":                             change(".quant_state.bitsandbytes__nf4", func(x *hftest.Tensor) { x.Name = q + ".quant_state.bitsandbytes__fp4" }),
		"NF4 has -1":                                                     change(".quant_map", func(x *hftest.Tensor) { x.Data = make([]byte, 64) }),
		`.nested_absmax": value 0 is NaN`:                                change(".nested_absmax", func(x *hftest.Tensor) { copy(x.Data, "\xff\xff\xff\xff") }),
		"it has 2047 bytes, codes of [64 64] take 2048":                  change("", func(x *hftest.Tensor) { x.Data, x.Shape = x.Data[1:], []int64{2047} }),
		`tensor "` + q + `.stray": it belongs to no part of the model`:   func(l []hftest.Tensor) []hftest.Tensor { return append(l, hftest.U8(q+".stray", []byte{1}, 1)) },
		"does not fit float16":                                           change(".nested_absmax", func(x *hftest.Tensor) { copy(x.Data, "\x00\x00\x00\x7e") }),
		`it is F32 of 64 values, not U8 of 64`:                           change(".absmax", func(x *hftest.Tensor) { *x = hftest.F32(x.Name, make([]float32, 64), 64) }),
	} {
		m, _, tensors := prequantized("llama", true)
		refused(t, prequantizedFolder(t, m, c(tensors)), Options{Type: "nf4"}, want)
	}
}
