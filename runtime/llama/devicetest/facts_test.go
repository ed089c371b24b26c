//go:build cgo && linux

package devicetest

import "testing"

// What was seen of the back ends themselves: Vulkan's answers while it ran, CUDA's in its source.
func TestFacts(t *testing.T) {
	const both = CUDA | Vulkan
	for _, c := range []struct {
		op                    string
		sub                   int
		result, first, second string
		want                  Backend
	}{
		{"MUL_MAT", 0, "f32", "q4_K", "f32", both}, {"MUL_MAT", 0, "f32", "iq4_nl", "f32", both}, {"MUL_MAT_ID", 0, "f32", "f16", "f32", both},
		{"GET_ROWS", 0, "f32", "q8_0", "i32", both}, {"GET_ROWS", 0, "f32", "q4_K", "i32", Vulkan}, {"GET_ROWS", 0, "f32", "iq4_nl", "i32", Vulkan},
		{"CPY", 0, "f32", "q4_0", "f32", both}, {"CPY", 0, "f32", "iq4_nl", "f32", Vulkan}, {"CPY", 0, "f32", "q4_K", "f32", 0}, {"CPY", 0, "f16", "q4_0", "f16", 0},
		{"CPY", 0, "bf16", "f32", "bf16", both}, {"CPY", 0, "f32", "bf16", "f32", CUDA},
		{"OUT_PROD", 0, "f32", "f32", "f32", CUDA}, {"GET_ROWS_BACK", 0, "f32", "f32", "i32", CUDA}, {"CROSS_ENTROPY_LOSS", 0, "f32", "f32", "f32", CUDA},
		{"SILU_BACK", 0, "f32", "f32", "f32", both}, {"ROPE_BACK", 0, "f32", "f32", "i32", both}, {"OPT_STEP_ADAMW", 0, "f32", "f32", "f32", both},
		{"SET_ROWS", 0, "f16", "f32", "i64", both}, {"SET_ROWS", 0, "q4_K", "f32", "i64", 0},
		{"FLASH_ATTN_EXT", 32 / 8, "f32", "f32", "f16", Vulkan}, {"FLASH_ATTN_EXT", 64 / 8, "f32", "f32", "f16", both}, {"FLASH_ATTN_EXT", 128 / 8, "f32", "f32", "q5_0", 0},
		{"CUSTOM", 0, "f32", "f32", "", 0},
	} {
		if got := takers(c.op, c.sub, c.result, c.first, c.second, 0); got != c.want {
			t.Errorf("%s of %s and %s to %s: %d take it, want %d", c.op, c.first, c.second, c.result, got, c.want)
		}
	}
	if got := takers("RMS_NORM_BACK", 0, "f32", "f32", "f32", widthOf32); got != Vulkan {
		t.Errorf("RMS_NORM_BACK of a width that is no multiple of 32: %d take it", got)
	}
}
