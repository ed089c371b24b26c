package quant

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// widest is the largest gap between neighbours of the codebook, from -1 to the next.
const widest = 1 - 0.6961928009986877

// TestNF4Codebook derives the codebook from its definition: quantiles of N(0, 1), evenly spaced in
// probability, 8 above zero and 7 below, scaled to [-1, 1] (QLoRA, section 3; the outermost probability is
// the one bitsandbytes' create_normal_map takes).
func TestNF4Codebook(t *testing.T) {
	const outermost = 0.9677083
	quantile := func(p float64) float64 { return math.Sqrt2 * math.Erfinv(2*p-1) }
	var want []float64
	for i := range 7 {
		want = append(want, -quantile(outermost+(0.5-outermost)*float64(i)/7))
	}
	want = append(want, 0)
	for i := range 8 {
		want = append(want, quantile(outermost+(0.5-outermost)*float64(7-i)/8))
	}
	for i, w := range want {
		if w /= quantile(outermost); math.Abs(w-float64(NF4Codebook[i])) > 1e-6 {
			t.Errorf("code %d: %g, the definition gives %g", i, NF4Codebook[i], w)
		}
	}
}

// TestNF4Thresholds holds the borders between codes against the ones published with bitsandbytes
// (dQuantizeNF4), where a weight on a border takes the lower code too.
func TestNF4Thresholds(t *testing.T) {
	published := []float32{
		-0.8480964004993439, -0.6106329262256622, -0.4599952697753906, -0.33967943489551544,
		-0.23460740596055984, -0.13791173323988914, -0.045525018125772476, 0.03979014977812767,
		0.1202552504837513, 0.2035212516784668, 0.2920137718319893, 0.3893125355243683,
		0.5016634166240692, 0.6427869200706482, 0.8614784181118011,
	}
	for c, border := range published {
		if math.Abs(float64(nf4Mid[c]-border)) > 1e-7 {
			t.Errorf("border above code %d: %g, published %g", c, nf4Mid[c], border)
		}
		above := math.Nextafter32(nf4Mid[c], 2)
		if lo, hi := nf4Code(nf4Mid[c]), nf4Code(above); int(lo) != c || int(hi) != c+1 {
			t.Errorf("border above code %d: codes %d and %d", c, lo, hi)
		}
	}
}

// TestNF4CodeIsNearest compares the table look-up with a search over the whole codebook.
func TestNF4CodeIsNearest(t *testing.T) {
	for i := -5000; i <= 5000; i++ {
		x := float32(i) / 4500 // also beyond [-1, 1]
		distance := func(c uint8) float64 { return math.Abs(float64(NF4Codebook[c]) - float64(x)) }
		got := nf4Code(x)
		for c := range uint8(16) {
			if distance(c) < distance(got)-1e-7 {
				t.Fatalf("%g: code %d, but %d is nearer", x, got, c)
			}
		}
	}
}

// TestNF4RoundTrip holds every weight to the format's bound: half the widest gap of the codebook times the
// block's absmax, and what fp16 rounds off the absmax.
func TestNF4RoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, sigma := range []float64{1e-7, 1e-4, 0.02, 1, 1e3, 1e5} {
		x := normal(r, 4096, sigma)
		x[7] = 0
		b, y := make([]byte, len(x)/nf4Weights*nf4Bytes), make([]float32, len(x))
		EncodeNF4Exact(b, x)
		DecodeNF4(y, b)
		for i := range x {
			block := x[i/nf4Weights*nf4Weights:][:nf4Weights]
			m := float64(absmax(block))
			d := float64(half(b[i/nf4Weights*nf4Bytes:]))
			rounding := m * 0x1p-11
			if m < 0x1p-14 { // fp16 is subnormal: its step is constant
				rounding = 0x1p-25
			}
			if m > maxHalf {
				rounding = m - maxHalf
			}
			if math.Abs(m-d) > rounding {
				t.Fatalf("sigma %g: absmax %g is stored as %g", sigma, m, d)
			}
			if e := math.Abs(float64(x[i] - y[i])); e > m*widest/2*(1+1e-6)+rounding {
				t.Fatalf("sigma %g: %g became %g in a block of absmax %g", sigma, x[i], y[i], m)
			}
		}
	}
}

// TestNF4Layout spells out one block byte for byte.
func TestNF4Layout(t *testing.T) {
	x := make([]float32, nf4Weights)
	for c, v := range NF4Codebook {
		x[c], x[31-c] = 2*v, 2*v // the low nibbles count up, the high ones down
	}
	want := []byte{0x00, 0x40, 0xf0, 0xe1, 0xd2, 0xc3, 0xb4, 0xa5, 0x96, 0x87, 0x78, 0x69, 0x5a, 0x4b, 0x3c, 0x2d, 0x1e, 0x0f}
	got := make([]byte, nf4Bytes)
	EncodeNF4Exact(got, x)
	if !slices.Equal(got, want) {
		t.Errorf("got  % x\nwant % x", got, want)
	}
	back := make([]float32, nf4Weights)
	DecodeNF4(back, got)
	if !slices.Equal(back, x) {
		t.Errorf("codebook values are not exact: %v", back)
	}
}

func TestNF4Zeros(t *testing.T) {
	b, y := make([]byte, nf4Bytes), normal(rand.New(rand.NewPCG(1, 1)), nf4Weights, 1)
	EncodeNF4(b, make([]float32, nf4Weights))
	DecodeNF4(y, b)
	if !slices.Equal(y, make([]float32, nf4Weights)) {
		t.Errorf("zeros became %v", y)
	}
}

func rootMeanSquare(x, y []float32) float64 {
	sum := 0.0
	for i := range x {
		d := float64(x[i]) - float64(y[i])
		sum += d * d
	}
	return math.Sqrt(sum / float64(len(x)))
}

func TestQ8_0RoundTrip(t *testing.T) {
	x := normal(rand.New(rand.NewPCG(7, 8)), 4096, 0.02)
	clear(x[:q8Weights])
	b, y := make([]byte, len(x)/q8Weights*q8Bytes), make([]float32, len(x))
	EncodeQ8_0(b, x)
	DecodeQ8_0(y, b)
	for i := range x {
		m := float64(absmax(x[i/q8Weights*q8Weights:][:q8Weights]))
		// Half a step, and fp16's rounding of the step times the largest code.
		if e := math.Abs(float64(x[i] - y[i])); e > m/127/2+m*0x1p-11+1e-9 {
			t.Errorf("%g became %g in a block of absmax %g", x[i], y[i], m)
		}
	}
}

func TestF16(t *testing.T) {
	for x, want := range map[float32]uint16{
		0: 0, 1: 0x3c00, -2: 0xc000, 65504: 0x7bff, 65520: 0x7c00, 0x1p-24: 1, 0x1p-26: 0,
		1 + 0x1p-11: 0x3c00, 1 + 3*0x1p-11: 0x3c02, // halves go to even
	} {
		var b [2]byte
		EncodeF16(b[:], []float32{x})
		if got := binary.LittleEndian.Uint16(b[:]); got != want {
			t.Errorf("%g: %#x, want %#x", x, got, want)
		}
	}
	everyHalf(t, DecodeF16, EncodeF16)
}

func TestBF16(t *testing.T) {
	for x, want := range map[float32]uint16{
		0: 0, 1: 0x3f80, -2: 0xc000, math.MaxFloat32: 0x7f80,
		1 + 0x1p-8: 0x3f80, 1 + 3*0x1p-8: 0x3f82, 1 + 0x1p-7: 0x3f81,
	} {
		var b [2]byte
		EncodeBF16(b[:], []float32{x})
		if got := binary.LittleEndian.Uint16(b[:]); got != want {
			t.Errorf("%g: %#x, want %#x", x, got, want)
		}
	}
	everyHalf(t, DecodeBF16, EncodeBF16)
	var b [2]byte
	var back [1]float32
	EncodeBF16(b[:], []float32{math.Float32frombits(0x7f800001)})
	if DecodeBF16(back[:], b[:]); back[0] == back[0] {
		t.Errorf("a NaN became %g", back[0])
	}
}

// everyHalf decodes and encodes each of the 65,536 values of a 16-bit type; only NaNs may change their bits.
func everyHalf(t *testing.T, decode func([]float32, []byte), encode func([]byte, []float32)) {
	t.Helper()
	var b [2]byte
	var x [1]float32
	for i := range 1 << 16 {
		binary.LittleEndian.PutUint16(b[:], uint16(i))
		decode(x[:], b[:])
		encode(b[:], x[:])
		if got := binary.LittleEndian.Uint16(b[:]); int(got) != i && x[0] == x[0] {
			t.Errorf("%#x is %g, which encodes to %#x", i, x[0], got)
		}
	}
}
