//go:build cgo && linux

package devicetest

import "testing"

// Vulkan says yes to all of these products, and computes those in the place of their planes alone.
func TestProductsThatVulkanMisreads(t *testing.T) {
	Register(t, CUDA, Vulkan)
	for _, c := range []struct {
		rowsBetween, valuesBefore int
		computed                  bool
	}{{0, 0, true}, {2, 0, false}, {0, 1, false}, {0, 4, true}} {
		if got := tryProduct(c.rowsBetween, c.valuesBefore); got != c.computed {
			t.Errorf("%d rows between the matrices and %d values before them: computed %t, want %t", c.rowsBetween, c.valuesBefore, got, c.computed)
		}
	}
	Register(t, CUDA)
	if !tryProduct(2, 1) {
		t.Error("CUDA's strides are those of the operands, but the device that stands for it alone refuses them")
	}
}
