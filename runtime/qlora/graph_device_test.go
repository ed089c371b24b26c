//go:build cgo && linux

package qlora_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
	"github.com/lorikeet-ai/lorikeet/runtime/llama/devicetest"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora/qloratest"
)

// These variables put a real device in the place of the one that stands for a GPU, as in the tests of runtime/llama.
const (
	testBackend    = "LORIKEET_TEST_BACKEND"
	testDeviceName = "LORIKEET_TEST_DEVICE"
)

var loadTestBackend = sync.OnceValue(func() error { return llama.LoadBackend(os.Getenv(testBackend)) })

// namedDevice reports whether a device is named. On one of software a test takes minutes, so there it leaves out what only the
// other device has to show.
func namedDevice() bool { return os.Getenv(testDeviceName) != "" }

// testDevice returns the name of the device that tests run on: a real one, or the test device, which stands for those back ends.
func testDevice(t testing.TB, standsFor ...devicetest.Backend) string {
	t.Helper()
	name := os.Getenv(testDeviceName)
	if name == "" {
		return devicetest.Register(t, standsFor...)
	}
	if err := loadTestBackend(); err != nil {
		t.Fatal(err)
	}
	return name
}

// loadOnDevice is loadBoth with the model of graphs in the memory of a device.
func loadOnDevice(t testing.TB, arch string, shape qloratest.Shape, kind qloratest.Kind, standsFor ...devicetest.Backend) both {
	t.Helper()
	device := testDevice(t, standsFor...)
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := makeSample(t, shape, kind, kind).Write(arch, path); err != nil {
		t.Fatal(err)
	}
	cpu, err := qloratest.LoadLlama(path, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cpu.Close)
	there, err := qloratest.LoadLlamaOn(path, device, shape.Layers+1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(there.Close)
	var b both
	for m, s := range map[**qlora.Model]*qloratest.Llama{&b.cpu: cpu, &b.graphs: there} {
		if *m, err = s.Model(); err != nil {
			t.Fatal(err)
		}
		made := *m
		t.Cleanup(func() { made.Close() })
	}
	if b.cpu.OnDevice() || !b.graphs.OnDevice() {
		t.Fatal("the models are not trained where they lie")
	}
	return b
}

// On a device whose memory the CPU cannot touch and which has no more operations than CUDA and Vulkan, gradients are those of the
// CPU: for every architecture, and for weights that each of them decodes in another way.
func TestGradientsOnADevice(t *testing.T) {
	cuda, vulkan := []devicetest.Backend{devicetest.CUDA}, []devicetest.Backend{devicetest.Vulkan}
	for _, c := range []struct {
		arch      string
		kind      qloratest.Kind
		standsFor []devicetest.Backend
		dora      bool
	}{
		{"llama", qloratest.F32, nil, true}, {"qwen2", qloratest.F16, nil, false}, {"qwen3", qloratest.BF16, nil, false}, {"qwen3", qloratest.Q8_0, nil, true},
		{"llama", qloratest.IQ4NL, cuda, true}, {"llama", qloratest.IQ4NL, vulkan, false}, {"qwen2", qloratest.Q4_K, cuda, true}, {"qwen2", qloratest.Q4_K, vulkan, false},
		{"qwen3", qloratest.Q6_K, cuda, false},
	} {
		t.Run(fmt.Sprintf("%s %v %v", c.arch, c.kind, c.standsFor), func(t *testing.T) {
			shape := shapes[c.arch]
			if c.kind == qloratest.IQ4NL {
				if namedDevice() {
					t.Skip("back ends for this program have NF4's codebook in the place of IQ4_NL's")
				}
				devicetest.SetCodebook(t, devicetest.IQ4NL)
			}
			if c.kind == qloratest.Q4_K || c.kind == qloratest.Q6_K {
				shape.Embedding, shape.FeedForward, shape.Heads, shape.KVHeads, shape.HeadSize, shape.Layers = 256, 512, 4, 2, 64, 1
			}
			m := loadOnDevice(t, c.arch, shape, c.kind, c.standsFor...)
			rng := rand.New(rand.NewPCG(7, 7))
			b := weighted(rng, randomBatch(rng, m.cpu.Vocab(), 5, 40, 17))
			b.Entropies = true
			spec := runtime.TrainSpec{Modules: allModules(m.cpu, 4, true), MaxTokens: len(b.Tokens), Seed: 3, Dropout: 0.1}
			if c.dora {
				spec.Modules = doraModules(m.cpu, 4, true)
			}
			cpu, graphs := newTrainer(t, m.cpu, spec, qlora.Options{Precision: qlora.Single}), newTrainer(t, m.graphs, spec, qlora.InBlocks(16))
			randomise(cpu, 5)
			if err := graphs.Restore(cpu.State()); err != nil {
				t.Fatal(err)
			}
			sameResult(t, "trained", run(t, graphs, runtime.TrainFirst, b), run(t, cpu, runtime.TrainFirst, b), 2e-4)
			for i, module := range spec.Modules {
				for _, p := range partsOf(cpu, i) {
					if e := offBy(gradientsOf(graphs)[p.From:p.To], gradientsOf(cpu)[p.From:p.To]); !(e < 5e-4) {
						t.Errorf("%s %s: the gradient is off by %.2g", module.Tensor, p.Name, e)
					}
				}
			}
		})
	}
}

// A trainer takes what it said, at every slice, and gives it back; where the device has less, the error says so.
func TestDeviceMemory(t *testing.T) {
	m := loadOnDevice(t, "llama", shapes["llama"], qloratest.Q4_0)
	spec := runtime.TrainSpec{Modules: doraModules(m.cpu, 4, true), MaxTokens: 500, Seed: 3, Dropout: 0.1}
	said, err := qlora.Estimate(m.graphs, spec, qlora.Options{})
	if err != nil {
		t.Fatal(err)
	}
	before := devicetest.Used()
	tr, err := qlora.New(m.graphs, spec, qlora.Options{})
	if err != nil {
		t.Fatal(err)
	}
	taken := devicetest.Used() - before
	if tr.Memory() != said || taken <= 0 || taken > said.Bytes || said.Kept != 0 {
		t.Errorf("the trainer said %+v, says %+v and takes %d bytes of the device", said, tr.Memory(), taken)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for _, lengths := range [][]int{{500}, {100, 1, 300, 99}, {3}, slicesOf(50, 10), {250, 250}} {
		if err := tr.Begin(runtime.TrainFirst, randomBatch(rng, m.cpu.Vocab(), 0, lengths...)); err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			if more, err = tr.Slice(); err != nil {
				t.Fatal(err)
			}
			if now := devicetest.Used() - before; now > taken {
				t.Fatalf("sequences of %v: the device holds %d bytes, %d when the trainer was made", lengths, now, taken)
			}
		}
	}
	tr.Close()
	if now := devicetest.Used(); now != before {
		t.Errorf("%d bytes stay on the device", now-before)
	}
	spec.Memory = said.Bytes - 1
	if _, err := qlora.New(m.graphs, spec, qlora.Options{}); !errors.Is(err, runtime.ErrTrainMemory) || !strings.Contains(err.Error(), "MiB") {
		t.Errorf("with a byte too little: error %v", err)
	}
	spec.Memory = said.Bytes
	devicetest.LimitMemory(t, before+taken-1)
	if _, err := qlora.New(m.graphs, spec, qlora.Options{}); !errors.Is(err, runtime.ErrMemory) || !strings.Contains(err.Error(), "MiB") {
		t.Errorf("on a device that is a byte too small: error %v", err)
	}
	if now := devicetest.Used(); now != before {
		t.Errorf("a trainer that could not be made leaves %d bytes on the device", now-before)
	}
}

// slicesOf returns n times the length.
func slicesOf(n, length int) []int {
	lengths := make([]int, n)
	for i := range lengths {
		lengths[i] = length
	}
	return lengths
}

// A model that lies on the device in part is not trained, and the error names a tensor and both places.
func TestPartlyOffloadedModelIsRefused(t *testing.T) {
	device := devicetest.Register(t)
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := makeSample(t, shapes["llama"], qloratest.Q4_0, qloratest.Q4_0).Write("llama", path); err != nil {
		t.Fatal(err)
	}
	s, err := qloratest.LoadLlamaOn(path, device, 2) // a block and the head, of two blocks
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err = s.Model(); !errors.Is(err, runtime.ErrTrain) || !strings.Contains(err.Error(), "on one device") || !strings.Contains(err.Error(), device) {
		t.Errorf("error %v", err)
	}
}

// A device that multiplies in half precision would lose small gradients, and is refused with what to do.
func TestDeviceThatRoundsToHalvesIsRefused(t *testing.T) {
	device := devicetest.Register(t)
	devicetest.RoundToHalves(t)
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := makeSample(t, shapes["llama"], qloratest.Q4_0, qloratest.Q4_0).Write("llama", path); err != nil {
		t.Fatal(err)
	}
	s, err := qloratest.LoadLlamaOn(path, device, shapes["llama"].Layers+1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err = s.Model(); !errors.Is(err, runtime.ErrTrain) || !strings.Contains(err.Error(), device+" rounds these to half precision") || !strings.Contains(err.Error(), "GGML_VK_DISABLE_F16=1") {
		t.Errorf("error %v", err)
	}
}

// A weight that the device could decode only by products, and whose size the product does not divide, is refused by name.
func TestWeightThatCannotBeDecodedIsRefused(t *testing.T) {
	m := loadOnDevice(t, "qwen3", shapes["qwen3"], qloratest.IQ4NL, devicetest.CUDA) // a head of 90 by 64
	spec := runtime.TrainSpec{Modules: allModules(m.cpu, 4, false), MaxTokens: 8}
	for name, err := range map[string]error{"New": errorOf(qlora.New(m.graphs, spec, qlora.Options{})), "Estimate": errorOf(qlora.Estimate(m.graphs, spec, qlora.Options{}))} {
		if !errors.Is(err, runtime.ErrTrain) || !strings.Contains(err.Error(), "output.weight of type iq4_nl") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func errorOf[T any](_ T, err error) error { return err }

// 4096 tokens in one sequence, whose scores are made a range of queries at a time: the loss is the CPU's, and the memory is less
// than that of all scores.
func TestDeviceTrainsLongSequences(t *testing.T) {
	if testing.Short() {
		t.Skip("it computes for some seconds")
	}
	shape := shapes["qwen3"]
	shape.Heads, shape.KVHeads, shape.HeadSize, shape.Layers = 16, 4, 32, 1
	m := loadOnDevice(t, "qwen3", shape, qloratest.Q8_0)
	const length = 4096
	b := randomBatch(rand.New(rand.NewPCG(1, 1)), m.cpu.Vocab(), length-200, length)
	spec := runtime.TrainSpec{Modules: allModules(m.cpu, 4, false), MaxTokens: length, Seed: 3}
	cpu, graphs := newTrainer(t, m.cpu, spec, qlora.Options{}), newTrainer(t, m.graphs, spec, qlora.Options{})
	if scores, takes := int64(4*length*length*shape.Heads), graphs.Memory().Bytes; takes > scores {
		t.Errorf("the trainer takes %d bytes, the scores of one layer have %d", takes, scores)
	}
	want, got := run(t, cpu, runtime.TrainFirst, b), run(t, graphs, runtime.TrainFirst, b)
	if math.Abs(got.Loss-want.Loss) > 1e-3*want.Loss {
		t.Errorf("the loss is %g, on the CPU %g", got.Loss, want.Loss)
	}
	if e := offBy(gradientsOf(graphs), gradientsOf(cpu)); !(e < 0.05) {
		t.Errorf("the gradients are off by %.2g", e)
	}
}
