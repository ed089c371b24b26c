package quant

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// nf4Forms are the ways to encode NF4, with the root-mean-square error on normal weights, in sigma.
var nf4Forms = []struct {
	name   string
	typ    Type
	encode func(dst []byte, src []float32, width int)
	rmse   float64
}{
	{"nf4 exact", NF4, func(d []byte, s []float32, _ int) { EncodeNF4Exact(d, s) }, 0.0873},
	{"nf4", NF4, func(d []byte, s []float32, _ int) { EncodeNF4(d, s) }, 0.0762},
	{"nf4-64 exact", NF4_64, func(d []byte, s []float32, _ int) { EncodeNF4_64Exact(d, s) }, 0.0919},
	{"nf4-64", NF4_64, func(d []byte, s []float32, _ int) { EncodeNF4_64(d, s) }, 0.0828},
	{"nf4-dq exact", NF4_DQ, EncodeNF4DQExact, 0.0919},
	{"nf4-dq", NF4_DQ, EncodeNF4DQ, 0.0829},
}

// TestNF4ErrorOfNormalWeights measures the formats on what they were made for.
func TestNF4ErrorOfNormalWeights(t *testing.T) {
	const width = 1 << 11
	x := normal(rand.New(rand.NewPCG(5, 6)), 1<<18, 1)
	y := make([]float32, len(x))
	for _, form := range nf4Forms {
		to := Tensor{Type: form.typ, Dims: []int64{width, int64(len(x)) / width}}
		size, err := to.Type.Size(to.Dims)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, size)
		form.encode(b, x, width)
		decode, err := to.decoder()
		if err != nil {
			t.Fatal(err)
		}
		decode(y, b)
		rmse := rootMeanSquare(x, y)
		t.Logf("%-13s %.3f bits, RMSE %.4f sigma", form.name, 8*float64(size)/float64(len(x)), rmse)
		if math.Abs(rmse-form.rmse) > 0.0004 {
			t.Errorf("%s: RMSE %.5f sigma, want %.4f", form.name, rmse, form.rmse)
		}
	}
}

// TestNF4ScaleAgainstSearch compares the chosen scales with a search over many more, and checks that no block
// is worse off than with its absmax.
func TestNF4ScaleAgainstSearch(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	errorOf := func(block []float32, scale float32) float64 {
		sum := 0.0
		for _, x := range block {
			best := math.Inf(1)
			for _, c := range NF4Codebook {
				best = min(best, math.Abs(float64(x)-float64(scale)*float64(c)))
			}
			sum += best * best
		}
		return sum
	}
	var chosen, searched float64
	for range 300 {
		block := normal(r, 64, math.Exp(r.NormFloat64()))
		block[3] *= float32(1 + r.IntN(4))
		m := absmax(block)
		got, least := errorOf(block, nf4Scale(block)), math.Inf(1)
		for f := float32(0.5); f < 1.2; f += 0.01 {
			least = min(least, errorOf(block, m*f), errorOf(block, -m*f))
		}
		chosen, searched = chosen+got, searched+least
		if plain := errorOf(block, m); got > plain*1.0001 {
			t.Errorf("a block's squared error is %g with the chosen scale, %g with its absmax", got, plain)
		}
	}
	if ratio := math.Sqrt(chosen / searched); ratio > 1.02 {
		t.Errorf("the error is %.3f times that of a fine search", ratio)
	}
}

// TestNF4ExactIsBitsandbytes holds codes and absmax to a plain transcription of the rule: the code nearest to
// x/absmax, by the published borders, a value on a border taking the lower code.
func TestNF4ExactIsBitsandbytes(t *testing.T) {
	r := rand.New(rand.NewPCG(23, 24))
	x := normal(r, 64*40, 0.02)
	clear(x[64:128])
	x[128], x[129] = 1, nf4Mid[9] // on a border in its block of absmax 1
	for i := 130; i < 192; i++ {
		x[i] = nf4Mid[i%15]
	}
	code := func(v, m float32) byte {
		if m == 0 {
			return 7
		}
		c := byte(0)
		for c < 15 && v*(1/m) > nf4Mid[c] {
			c++
		}
		return c
	}
	b := make([]byte, len(x)/nf4Wide*nf4WideBytes)
	EncodeNF4_64Exact(b, x)
	for i, v := range x {
		block := b[i/nf4Wide*nf4WideBytes:][:nf4WideBytes]
		m := absmax(x[i/nf4Wide*nf4Wide:][:nf4Wide])
		at := i % nf4Wide
		got := block[2+at/32*16+at%16] >> (at % 32 / 16 * 4) & 15
		if want := code(v, m); got != want {
			t.Fatalf("weight %d, %g of absmax %g: code %d, want %d", i, v, m, got, want)
		}
		var h [2]byte
		if putHalf(h[:], m); !bytes.Equal(h[:], block[:2]) {
			t.Fatalf("absmax %g is % x", m, block[:2])
		}
	}
}

// TestNF4DQLayout spells out a small weight byte for byte: 17 rows of 17 blocks make two strips of two tiles.
func TestNF4DQLayout(t *testing.T) {
	const blocks, rows, width = 17, 17, 17 * nf4Wide
	x := make([]float32, rows*width)
	for i := range x { // absmax of block b in row r: 1 + (r+b)/127ths, and the last block alone in its tile: 3
		r, b := i/width, i%width/nf4Wide
		m := (1 + float32(r+b)) / 127
		if b == 16 {
			m = 3
		}
		x[i] = m * NF4Codebook[15-i%16]
	}
	size, err := NF4_DQ.Size([]int64{width, rows})
	if want := int64(2*2*4 + rows*blocks*33); size != want || err != nil {
		t.Fatalf("%d bytes, %v, want %d", size, err, want)
	}
	b := make([]byte, size)
	EncodeNF4DQExact(b, x, width)
	float := func(at int) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b[at:])) }
	if got, want := float(0), float32(1+15+15)/127/127; got != want {
		t.Errorf("the first tile's scale is %g, want %g", got, want)
	}
	if got, want := float(4), float32(3)/127; got != want {
		t.Errorf("the second tile's scale is %g, want %g", got, want)
	}
	second := 8 + 16*blocks*33
	if got, want := float(second), float32(1+16+15)/127/127; got != want {
		t.Errorf("the second strip's first scale is %g, want %g", got, want)
	}
	row := b[8+3*blocks*33:] // row 3 of the first strip
	if got, want := row[16*33], byte(127); got != want {
		t.Errorf("the eight bits of block 16 are %d, want %d", got, want)
	}
	if got, want := row[33*5], byte(math.RoundToEven(127*9.0/31)); got != want {
		t.Errorf("the eight bits of block 5 are %d, want %d", got, want)
	}
	codes := []byte{0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x00}
	if got := row[33*5+1:][:32]; !slices.Equal(got, slices.Concat(codes, codes)) {
		t.Errorf("the codes are % x", got)
	}
	back := make([]float32, len(x))
	DecodeNF4DQ(back, b, width)
	for i := range x {
		if math.Abs(float64(back[i]-x[i])) > 0.5/127*31.0/127+1e-6 {
			t.Fatalf("weight %d: %g became %g", i, x[i], back[i])
		}
	}
}

// TestNF4Extremes encodes blocks that are zero, tiny and huge: they decode to finite weights near what they were.
func TestNF4Extremes(t *testing.T) {
	r := rand.New(rand.NewPCG(25, 26))
	for _, form := range nf4Forms {
		for _, sigma := range []float64{0, 1e-44, 1e-39, 1e-7, 1e3, 1e30} {
			x := normal(r, 128, sigma)
			to := Tensor{Type: form.typ, Dims: []int64{64, 2}}
			size, _ := to.Type.Size(to.Dims)
			b, y := make([]byte, size), make([]float32, len(x))
			form.encode(b, x, 64)
			decode, _ := to.decoder()
			decode(y, b)
			for i := range y {
				limit := 0.2*float64(absmax(x)) + 1e-7 // fp16 has nothing below 6e-8
				if form.typ != NF4_DQ && sigma > 1e5 {
					limit = math.MaxFloat32 // nor above 65504
				}
				if e := math.Abs(float64(y[i] - x[i])); !(e <= limit) {
					t.Errorf("%s, sigma %g: %g became %g", form.name, sigma, x[i], y[i])
				}
			}
		}
	}
}

func TestQ6_K(t *testing.T) {
	r := rand.New(rand.NewPCG(27, 28))
	x := normal(r, 256*64, 0.02)
	clear(x[:256])
	clear(x[256 : 256+16])
	b, y := make([]byte, len(x)/q6Weights*q6Bytes), make([]float32, len(x))
	EncodeQ6_K(b, x)
	DecodeQ6_K(y, b)
	if rmse := rootMeanSquare(x, y) / 0.02; rmse > 0.0185 {
		t.Errorf("RMSE %.4f sigma", rmse)
	} else {
		t.Logf("RMSE %.4f sigma", rmse)
	}
	for i := range y {
		if m := absmax(x[i/16*16:][:16]); math.Abs(float64(y[i]-x[i])) > float64(m)/32*0.9+1e-4 {
			t.Errorf("%g became %g in a group of absmax %g", x[i], y[i], m)
		}
	}
}
