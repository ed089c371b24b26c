//go:build cgo && linux

package llama

import (
	"bytes"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// TestNF4Facts holds what a model says of its weights to the file and to the formats.
func TestNF4Facts(t *testing.T) {
	for _, c := range []struct {
		o    quant.Options
		bits float64 // of a weight in a linear layer
	}{
		{quant.Options{Type: "nf4", Block: 32}, 4.5}, {quant.Options{Type: "nf4", Block: 64}, 4.25},
		{quant.Options{Type: "nf4-dq"}, 4.125 + 32.0/16384*(16.0/13)}, // 13: of rows of 256 and 768, tiles are not full
	} {
		coded, _ := tiny.quantized(t, c.o)
		f := openModel(t, Options{Path: coded}).Facts()
		file, err := quant.Open(coded)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		var linear, other int64
		bytes := int64(0)
		for _, tensor := range file.Tensors {
			bytes += tensor.Size
			if tensor.Type.NF4() {
				linear += tensor.Elements()
			} else {
				other += tensor.Size
			}
		}
		resident := float64(other) + float64(linear)*c.bits/8
		if f.Bytes != bytes || f.Parameters*8 == 0 || math.Abs(f.BitsPerWeight-8*float64(bytes)/float64(f.Parameters)) > 1e-9 {
			t.Errorf("%+v: %d bytes, %d weights, %g bits; the file has %d bytes", c.o, f.Bytes, f.Parameters, f.BitsPerWeight, bytes)
		}
		if ratio := float64(f.Resident) / resident; ratio < 0.995 || ratio > 1.01 {
			t.Errorf("%+v: %d bytes in memory, the format has %.0f", c.o, f.Resident, resident)
		}
	}
}

// TestNF4FromMemory loads files from memory, without a mapping: the logits are those of the mapped file.
func TestNF4FromMemory(t *testing.T) {
	coded, _ := tiny.quantized(t, quant.Options{Type: "nf4-dq"})
	b, err := os.ReadFile(coded)
	if err != nil {
		t.Fatal(err)
	}
	mapped := openModel(t, Options{Path: coded})
	adapters, ss := proofAdapters(t, mapped), streams(tiny.vocab)
	want := ourLogits(t, mapped, openDevice(t, mapped, proofDevice(Fused, 512)), adapters, ss)
	m := openModel(t, Options{Bytes: b, Name: "memory"})
	if got := compare(ourLogits(t, m, openDevice(t, m, proofDevice(Fused, 512)), adapters, ss), want); got.most != 0 {
		t.Errorf("%v", got)
	}
}

// TestNF4Hostile loads files whose NF4 tensors are not what they seem; each is refused by the tensor's name.
func TestNF4Hostile(t *testing.T) {
	const name = "blk.1.attn_k.weight"
	for typ, change := range map[string]func(b []byte, at quant.Tensor) []byte{
		"a scale that is infinite": func(b []byte, at quant.Tensor) []byte { // the last block's, or the tile's
			where := at.Offset + at.Size - 34
			if at.Type == quant.NF4_DQ {
				where = at.Offset + at.Size - 16*(at.Dims[0]/64)*33 - 4
			}
			copy(b[where:], []byte{0, 0x7c, 0xff, 0x7f})
			return b
		},
		"too short": func(b []byte, at quant.Tensor) []byte { return b[:at.Offset+100] },
	} {
		for _, o := range []quant.Options{{Type: "nf4", Block: 64}, {Type: "nf4-dq"}} {
			coded, _ := tiny.quantized(t, o)
			b, err := os.ReadFile(coded)
			if err != nil {
				t.Fatal(err)
			}
			f, err := quant.Read(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			at, _ := f.Tensor(name)
			path := filepath.Join(t.TempDir(), "hostile.gguf")
			if err := os.WriteFile(path, change(b, at), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = Load(Options{Path: path})
			if err == nil || !strings.Contains(err.Error(), "tensor") || typ != "too short" && !strings.Contains(err.Error(), name) {
				t.Errorf("%s, %s: %v", o.Type, typ, err)
			}
		}
	}
}

// TestQ6KIsGGMLs decodes what our encoder writes with ggml's decoder: both read the same weights.
func TestQ6KIsGGMLs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q6.gguf")
	if _, err := quant.Quantize(t.Context(), "../../demo/demo-base.f16.gguf", path, quant.Options{Type: "nf4", Head: "q6_k"}); err != nil {
		t.Fatal(err)
	}
	f, err := quant.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if w, _ := f.Tensor("token_embd.weight"); w.Type != quant.Q6_K {
		t.Fatalf("the head is %s", w.Type)
	}
	ours, err := f.ReadF32("token_embd.weight")
	if err != nil {
		t.Fatal(err)
	}
	ggml, err := Codec(quant.Q6_K)
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.TensorReader("token_embd.weight")
	if err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, r.Size())
	if _, err := io.ReadFull(r, raw); err != nil {
		t.Fatal(err)
	}
	theirs := make([]float32, len(ours))
	ggml.Decode(theirs, raw)
	if d := maxDifference(ours, theirs); d > 1e-7 {
		t.Errorf("they differ by up to %g", d)
	}
	if _, err := Codec(quant.NF4); err == nil {
		t.Error("ggml decodes NF4")
	}
}
