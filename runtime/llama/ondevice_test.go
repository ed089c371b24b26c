//go:build cgo && linux

package llama

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama/devicetest"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// Tests with the model in the memory of a device.

const demoF16 = "../../demo/demo-base.f16.gguf"

// deviceOptions are options that put all layers of a model onto the test device.
func deviceOptions(t testing.TB, o Options) Options {
	t.Helper()
	o.Device, o.GPULayers = testDevice(t), AllLayers
	return o
}

// everywhere runs a test with all layers on the CPU, with all of them on the test device, and with the last block alone there.
func everywhere(t *testing.T, run func(t *testing.T, place func(Options) Options)) {
	for _, c := range []struct {
		name   string
		layers int
	}{{"cpu", 0}, {"device", -1}, {"part", 1}} {
		t.Run(c.name, func(t *testing.T) {
			run(t, func(o Options) Options {
				o.Device, o.GPULayers = testDevice(t), c.layers
				return o
			})
		})
	}
}

func TestConformanceOnADevice(t *testing.T) {
	m := openModel(t, deviceOptions(t, Options{Path: demoF16}))
	runtimetest.Conformance(t, func(t *testing.T) (runtime.Device, runtime.Model, []runtime.Packed) {
		one := newAdapter(t, m, 1, 8, 12, isLinear)
		two := newAdapter(t, m, 2, 16, 12, func(string) bool { return true })
		for _, a := range []adapter{one, two} { // enough to change answers, not enough to make the model unsure
			for i := range a.lora.Modules {
				a.lora.Modules[i].Scale *= 0.3
			}
		}
		two.lora.Norms = aFewNorms(t)
		d := openDevice(t, m, DeviceOptions{Sequences: 4, Cells: 512, Batch: 128, UBatch: 64, Threads: 1})
		return d, m, []runtime.Packed{pack(t, m, one.lora), pack(t, m, two.lora)}
	})
}

// The proof of a different adapter for every row with the layers on a device, all of them or some, against stock llama.cpp on the CPU.
func TestEveryRowHasItsOwnAdapterOnADevice(t *testing.T) {
	for _, arch := range []string{"llama", "qwen2", "qwen3"} {
		s := tiny
		s.arch = arch
		path := s.file(t)
		cpu := openModel(t, Options{Path: path, PackFloat32: true})
		adapters, ss := proofAdapters(t, cpu), streams(s.vocab)
		want := stockLogits(t, cpu, adapters, ss)
		for _, layers := range []int{-1, 4, 2} {
			if namedDevice() && layers == 4 {
				continue // three blocks and the head, as two have one
			}
			o := deviceOptions(t, Options{Path: path, PackFloat32: true})
			o.GPULayers = layers
			m := openModel(t, o)
			for _, ubatch := range []int{512, 8} {
				t.Run(fmt.Sprintf("%s/layers%d/ubatch%d", arch, layers, ubatch), func(t *testing.T) {
					got := compare(ourLogits(t, m, openDevice(t, m, proofDevice(Fused, ubatch)), adapters, ss), want)
					t.Log(got)
					if most := deviceTolerance(1e-4); !(got.most <= most) || got.argmax != 0 {
						t.Errorf("want at most %g and no other argmax", most)
					}
				})
			}
		}
	}
}

func TestDevices(t *testing.T) {
	name := devicetest.Register(t)
	devicetest.LimitMemory(t, 1<<30)
	found := map[string]DeviceInfo{}
	for _, d := range Devices() {
		found[d.Name] = d
	}
	if d := found[name]; d.Type != GPU || d.Backend != "devicetest" || d.Memory != 1<<30 || d.Free != 1<<30-devicetest.Used() {
		t.Errorf("%s is %+v", name, d)
	}
	if d := found["CPU"]; d.Type != CPU || d.Memory <= 0 {
		t.Errorf("the CPU is %+v", d)
	}
	path := tiny.file(t)
	for cause, o := range map[string]Options{
		"there is no device Abacus; there are: ": {Path: path, Device: "Abacus", GPULayers: 1},
		"CPU is no GPU":                          {Path: path, Device: "CPU", GPULayers: 1},
	} {
		if _, err := Load(o); !errors.Is(err, ErrLoad) || !strings.Contains(err.Error(), cause) {
			t.Errorf("%+v: error %v", o, err)
		}
	}
	before := devicetest.Used()
	m := openModel(t, Options{Path: path, Device: name, GPULayers: AllLayers})
	if got := devicetest.Used() - before; got < m.Facts().Resident/2 {
		t.Errorf("the device holds %d bytes of a model of %d", got, m.Facts().Resident)
	}
	devicetest.LimitMemory(t, devicetest.Used()+1<<20)
	if _, err := Load(Options{Path: path, Device: name, GPULayers: AllLayers}); !errors.Is(err, ErrLoad) {
		t.Errorf("a model larger than the device's memory: error %v", err)
	}
	m.Close()
	if got := devicetest.Used(); got != before {
		t.Errorf("%d bytes are left on the device", got-before)
	}
}

func TestBackendsOfOtherVersions(t *testing.T) {
	for path, cause := range map[string]string{
		"libggml-vulkan.so":                           "named libggml-NAME-" + BackendVersion + ".so",
		"libggml-vulkan-v0.17.3.so":                   "named libggml-NAME-" + BackendVersion + ".so",
		"none/libggml-none-" + BackendVersion + ".so": "cannot open shared object file",
	} {
		if err := LoadBackend(path); !errors.Is(err, ErrBackend) || !strings.Contains(err.Error(), cause) {
			t.Errorf("%s: error %v", path, err)
		}
	}
}

// NF4 on a device, in every form and with part of the layers there, against a base in F32 that holds what the file decodes to.
func TestNF4OnADevice(t *testing.T) {
	for _, form := range []struct {
		name  string
		o     quant.Options
		bound float64
	}{
		{"nf4", quant.Options{Type: "nf4", Block: 32}, 2e-5},
		{"nf4-64", quant.Options{Type: "nf4", Block: 64}, 2e-5}, // two blocks with the scale of one
		{"nf4-dq", quant.Options{Type: "nf4-dq"}, 1e-2},         // scales are rounded to half precision
	} {
		t.Run(form.name, func(t *testing.T) {
			coded, inF32 := tiny.quantized(t, form.o)
			plain := openModel(t, Options{Path: inF32})
			adapters, ss := proofAdapters(t, plain), streams(tiny.vocab)
			want := stockLogits(t, plain, adapters, ss)
			b, err := os.ReadFile(coded)
			if err != nil {
				t.Fatal(err)
			}
			for name, o := range map[string]Options{
				"all":         deviceOptions(t, Options{Path: coded, NF4: NF4Float, PackFloat32: true}),
				"from memory": deviceOptions(t, Options{Bytes: b, Name: "memory", NF4: NF4Float, PackFloat32: true}),
				"two layers":  {Path: coded, NF4: NF4Float, PackFloat32: true, Device: testDevice(t), GPULayers: 2},
			} {
				if namedDevice() && name == "from memory" {
					continue // which is a matter of the host
				}
				m := openModel(t, o)
				d := proofDevice(Fused, 512)
				d.Slots = SlotF32 // it is the weights that are looked at, not what half precision does to adapters
				got := compare(ourLogits(t, m, openDevice(t, m, d), adapters, ss), want)
				t.Logf("%s: %v", name, got)
				if most := nf4Tolerance(form.bound); !(got.most <= most) || got.argmax != got.ties {
					t.Errorf("%s: %v; want at most %g", name, got, most)
				}
			}
		})
	}
}

// A back end whose table holds integers rounds NF4's values to 127 steps.
func TestNF4OnADeviceOfIntegers(t *testing.T) {
	coded, inF32 := tiny.nf4(t)
	plain := openModel(t, Options{Path: inF32})
	adapters, ss := proofAdapters(t, plain), streams(tiny.vocab)
	want := stockLogits(t, plain, adapters, ss)
	devicetest.SetCodebook(t, devicetest.NF4Integers)
	m := openModel(t, Options{Path: coded, Device: devicetest.Register(t), GPULayers: AllLayers})
	got := compare(ourLogits(t, m, openDevice(t, m, proofDevice(Fused, 512)), adapters, ss), want)
	t.Log(got)
	if !(got.most <= 0.3) || got.argmax != got.ties {
		t.Errorf("%v; want at most 0.3", got)
	}
}

// What would be multiplied with another codebook than its own is refused.
func TestCodebooksOfDevices(t *testing.T) {
	coded, _ := tiny.nf4(t)
	iq4 := filepath.Join(t.TempDir(), "iq4_nl.gguf")
	if err := Quantize(t.Context(), tiny.file(t), iq4, "iq4_nl", 1, nil); err != nil {
		t.Fatal(err)
	}
	device := devicetest.Register(t)
	refused := func(path, cause string) {
		t.Helper()
		if _, err := Load(Options{Path: path, Device: device, GPULayers: -1}); !errors.Is(err, ErrLoad) || !strings.Contains(err.Error(), cause) {
			t.Errorf("%s: error %v", path, err)
		}
	}
	refused(iq4, "is IQ4_NL, and the back end of "+device+" was built with NF4's codebook in its place")
	openModel(t, Options{Path: iq4})
	devicetest.SetCodebook(t, devicetest.IQ4NL)
	openModel(t, Options{Path: iq4, Device: device, GPULayers: -1})
	refused(coded, "is NF4, and the back end of "+device+" was built without NF4's codebook")
}

// ggml would let its CPU back end compute what the device does not, with the weights copied there and IQ4_NL's codebook. Weights that
// the device can never multiply stay with our kernels or are refused; a graph with such a product is not built.
func TestNF4IsNeverLeftToTheCPUOfGGML(t *testing.T) {
	device := devicetest.Register(t)
	coded, inF32 := tiny.nf4(t)
	double, _ := tiny.quantized(t, quant.Options{Type: "nf4-dq"})
	o := Options{Path: coded, NF4: NF4Float, Device: device, GPULayers: AllLayers}
	loaded := openModel(t, o)
	devicetest.RefuseIQ4NL(t)
	if _, err := NewDevice(loaded, proofDevice(Fused, 512)); !errors.Is(err, ErrDevice) || !strings.Contains(err.Error(), "is NF4, and "+device+" cannot multiply it with") {
		t.Errorf("a graph with such products: error %v", err)
	}
	if _, err := Load(Options{Path: double, Device: device, GPULayers: AllLayers}); !errors.Is(err, ErrLoad) || !strings.Contains(err.Error(), "is NF4 and could not be put into the memory of the device") {
		t.Errorf("blocks that only the device would have: error %v", err)
	}
	plain, m := openModel(t, Options{Path: inF32}), openModel(t, o)
	adapters, ss := proofAdapters(t, plain), streams(tiny.vocab)
	got := compare(ourLogits(t, m, openDevice(t, m, proofDevice(Fused, 512)), adapters, ss), stockLogits(t, plain, adapters, ss))
	t.Log(got)
	if !(got.most <= 2e-5) || got.argmax != 0 {
		t.Error("weights that stayed with the CPU: want at most 2e-5")
	}
}

// The bytes of the NF4 layers lie on the device and nowhere else.
func TestNF4OnADeviceTakesNoOtherMemory(t *testing.T) {
	if os.Getenv("ASAN_OPTIONS") != "" {
		t.Skip("under AddressSanitizer freed memory stays with the process for a while")
	}
	for _, o := range []quant.Options{{Type: "nf4", Block: 32}, {Type: "nf4-dq"}} {
		s := sizes{arch: "llama", embedding: 1024, feedForward: 2048, layers: 2, vocab: 512, heads: 16, kvHeads: 4}
		coded, _ := s.quantized(t, o)
		options := Options{Path: coded, Device: devicetest.Register(t), GPULayers: AllLayers}
		held := devicetest.Used()
		before := residentBytes(t)
		m := openModel(t, options)
		device, host := devicetest.Used()-held, residentBytes(t)-before-(devicetest.Used()-held)
		t.Logf("%s: a file of %d bytes takes %d on the device and %d beside it", o.Type, m.Facts().Bytes, device, host)
		if float64(device) > 1.1*float64(m.Facts().Bytes) {
			t.Errorf("%s: a file of %d bytes takes %d on the device", o.Type, m.Facts().Bytes, device)
		}
		if host > m.Facts().Bytes/3 {
			t.Errorf("%s: beside the device's, %d bytes are held of a file of %d", o.Type, host, m.Facts().Bytes)
		}
	}
}

// residentBytes is what the process holds of the system's memory that is in no file.
func residentBytes(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "RssAnon: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	t.Fatal("the system does not say what the process holds")
	return 0
}
