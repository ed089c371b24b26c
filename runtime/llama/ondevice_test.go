//go:build cgo && linux

package llama

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama/devicetest"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// Tests with the model in the memory of a device.

const demoF16 = "../../demo/demo-base.f16.gguf"

// onDevice are options that put all layers of a model onto the test device.
func onDevice(t testing.TB, o Options) Options {
	t.Helper()
	o.Device, o.GPULayers = testDevice(t), -1
	return o
}

func TestConformanceOnADevice(t *testing.T) {
	m := openModel(t, onDevice(t, Options{Path: demoF16}))
	runtimetest.Conformance(t, func(t *testing.T) (runtime.Device, runtime.Model, []runtime.Packed) {
		one := newAdapter(t, m, 1, 8, 12, isLinear)
		two := newAdapter(t, m, 2, 16, 12, func(string) bool { return true })
		for _, a := range []adapter{one, two} { // enough to change answers, not enough to make the model unsure
			for i := range a.lora.Modules {
				a.lora.Modules[i].Scale *= 0.3
			}
		}
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
			o := onDevice(t, Options{Path: path, PackFloat32: true})
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
	m := openModel(t, onDevice(t, Options{Path: path}))
	if got := devicetest.Used() - before; got < m.Facts().Resident/2 {
		t.Errorf("the device holds %d bytes of a model of %d", got, m.Facts().Resident)
	}
	devicetest.LimitMemory(t, devicetest.Used()+1<<20)
	if _, err := Load(onDevice(t, Options{Path: path})); !errors.Is(err, ErrLoad) {
		t.Errorf("a model larger than the device's memory: error %v", err)
	}
	m.Close()
	if got := devicetest.Used(); got != before {
		t.Errorf("%d bytes are left on the device", got-before)
	}
}

func TestBackendsOfOtherVersions(t *testing.T) {
	for path, cause := range map[string]string{
		"/tmp/libggml-vulkan.so":                           "named libggml-NAME-" + BackendVersion + ".so",
		"/tmp/libggml-vulkan-v0.17.3.so":                   "named libggml-NAME-" + BackendVersion + ".so",
		"/tmp/none/libggml-none-" + BackendVersion + ".so": "cannot open shared object file",
	} {
		if err := LoadBackend(path); !errors.Is(err, ErrBackend) || !strings.Contains(err.Error(), cause) {
			t.Errorf("%s: error %v", path, err)
		}
	}
}
