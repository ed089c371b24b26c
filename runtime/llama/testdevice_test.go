//go:build cgo && linux

package llama

import (
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime/llama/devicetest"
)

// These variables put a real device in the place of the one that stands for a GPU: the library of a back end, the name of one
// of its devices, and "off" where flash attention is not to run there (make test-vulkan, bench/gpu/run.sh).
const (
	testBackend        = "LORIKEET_TEST_BACKEND"
	testDeviceName     = "LORIKEET_TEST_DEVICE"
	testFlashAttention = "LORIKEET_TEST_FLASH_ATTN"
)

var loadTestBackend = sync.OnceValue(func() error { return LoadBackend(os.Getenv(testBackend)) })

// testDevice returns the name of the device that tests run on.
func testDevice(t testing.TB) string {
	t.Helper()
	name := os.Getenv(testDeviceName)
	if name == "" {
		return devicetest.Register(t)
	}
	if err := loadTestBackend(); err != nil {
		t.Fatal(err)
	}
	return name
}

// namedDevice reports whether a device is named. On one of software a test takes minutes, so there it leaves out what only the
// other device has to show.
func namedDevice() bool { return os.Getenv(testDeviceName) != "" }

// withoutFlash turns flash attention off where the device's driver cannot have it.
func (o DeviceOptions) withoutFlash() DeviceOptions {
	if o.FlashAttention == FlashAuto && os.Getenv(testFlashAttention) == "off" {
		o.FlashAttention = FlashOff
	}
	return o
}

// nf4Tolerance is deviceTolerance for products with NF4 weights, which CUDA computes in integers of 8 bits: the codebook is rounded
// (TestNF4OnADeviceOfIntegers), and so are the activations.
func nf4Tolerance(exact float64) float64 {
	if strings.HasPrefix(os.Getenv(testDeviceName), "CUDA") {
		return 0.5
	}
	return deviceTolerance(exact)
}

// deviceTolerance returns exact for the device that stands for a GPU, which the CPU computes, and what a real one is held to
// otherwise: its products are summed in other orders and its functions approximated.
func deviceTolerance(exact float64) float64 {
	if namedDevice() {
		return max(exact, 1e-2)
	}
	return exact
}
