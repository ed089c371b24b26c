package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime/llama"
	"github.com/lorikeet-ai/lorikeet/runtime/llama/devicetest"
)

// The program with the test device in a shared object, as it has a GPU's back end.

// TestGoldenOnADevice asks what PyTorch was asked, all of it at once: the answers are PyTorch's with all layers on a device, and with
// half of them.
func TestGoldenOnADevice(t *testing.T) {
	backends, g := devicetest.Library(t, llama.BackendVersion), readGolden(t)
	for _, c := range []struct{ flag, layers string }{{"all", "7"}, {"3", "3"}, {"auto", "7"}} {
		t.Run(c.flag, func(t *testing.T) {
			env := map[string]string{"LORIKEET_BACKENDS": backends}
			b := bootWith(t, env, "--model", "demo/demo-base.f16.gguf", "--adapter-dir", demoAdapters, "--device", "TestGPU0", "--gpu-layers", c.flag)
			if text := b.process.out.String(); !strings.Contains(text, "device    TestGPU0, "+c.layers+" of 7 layers") {
				t.Errorf("it does not say what the device computes:\n%s", text)
			}
			if got := fmt.Sprint(b.metric(`lorikeet_device_layers{device="TestGPU0"}`)); got != c.layers {
				t.Errorf("the metric says %s layers", got)
			}
			var wg sync.WaitGroup
			g.each(func(name string, body map[string]any, want string) {
				wg.Go(func() {
					if got, err := b.ask(body); err != nil || got != want {
						t.Errorf("%s\n got %q and %v\nwant %q", name, got, err, want)
					}
				})
			})
			wg.Wait()
		})
	}
}

// TestDemoOnADevice has the embedded base, in NF4, on a device: its answers are those of the CPU.
func TestDemoOnADevice(t *testing.T) {
	backends, g := devicetest.Library(t, llama.BackendVersion), readGolden(t)
	cpu := boot(t, "--adapter-dir", demoAdapters, "--nf4-mode", "f32")
	gpu := bootWith(t, map[string]string{"LORIKEET_BACKENDS": backends}, "--adapter-dir", demoAdapters, "--gpu-layers", "all")
	same, all := 0, 0
	g.each(func(name string, body map[string]any, _ string) {
		all++
		if want, got := cpu.mustAsk(body), gpu.mustAsk(body); got == want {
			same++
		} else {
			t.Logf("%s\n got %q\n cpu %q", name, got, want)
		}
	})
	if same < all {
		t.Errorf("%d of %d answers are those of the CPU", same, all)
	}
}

// TestDevicesCommand lists the device, and says of a library of another version why it is none.
func TestDevicesCommand(t *testing.T) {
	backends := devicetest.Library(t, llama.BackendVersion)
	other := filepath.Join(backends, "libggml-other-v0.0.1.so")
	if err := os.WriteFile(other, []byte("not loaded"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, out, errs := command(t, map[string]string{"LORIKEET_BACKENDS": backends}, "devices")
	for _, want := range []string{"TestGPU0", "GPU", "8GiB", "devicetest", filepath.Join(backends, "libggml-devicetest-"+llama.BackendVersion+".so"), "CPU", "part of the program"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in the list:\n%s", want, out)
		}
	}
	if status != 0 || !strings.Contains(errs, other) || !strings.Contains(errs, "named libggml-NAME-"+llama.BackendVersion+".so") {
		t.Errorf("status %d, and of the other library it says %q", status, errs)
	}
	if status, _, errs := command(t, nil, "serve", "--gpu-layers", "all", "--data", t.TempDir(), "--listen", "127.0.0.1:0"); status != 1 || !strings.Contains(errs, "there is none") {
		t.Errorf("all layers on a GPU where there is none: status %d, %q", status, errs)
	}
	if status, _, errs := command(t, nil, "serve", "--device", "CUDA7", "--data", t.TempDir(), "--listen", "127.0.0.1:0"); status != 1 || !strings.Contains(errs, "there is no device CUDA7; there are: CPU") {
		t.Errorf("a device that there is not: status %d, %q", status, errs)
	}
}
