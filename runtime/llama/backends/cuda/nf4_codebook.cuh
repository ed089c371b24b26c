// The codebook of NF4, for the blocks that a marked file types IQ4_NL (quant/carrier.go): nf4_codebook.awk puts these
// tables in the place of IQ4_NL's in the kernels for that type. A block's scale is its largest magnitude, so that a weight
// is d * nf4_floats[code], or, where the products are in integers, d / 127 * nf4_integers[code]: round(127 * nf4_floats).
#pragma once
#if defined(__CUDACC__)
static const __device__ float nf4_floats[16] = {
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,
    -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
    0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
    0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f,
};
static const __device__ __align__(4) int8_t nf4_integers[16] = {
    -127, -88, -67, -50, -36, -23, -12, 0, 10, 20, 31, 43, 56, 71, 92, 127,
};
#endif
