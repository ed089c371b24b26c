// How packed weights lie in memory. This is the one declaration of these layouts: the kernels write and multiply them,
// runtime/llama keeps them for the tensors of a loaded model, and runtime/qlora reads them in place.
//
// Plain C, and C headers only: the files of an instruction set are compiled for wider targets than the rest, and an
// inline function of the C++ library that they instantiate could be the copy that the linker keeps for all files.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __cplusplus
extern "C" {
#endif

static inline float lk_half_to_float(uint16_t h) {
    const uint32_t sign = (uint32_t) (h & 0x8000) << 16, rest = (uint32_t) (h & 0x7fff) << 13;
    uint32_t bits;
    float f;
    memcpy(&f, &rest, 4);
    f *= 0x1p112f; // moves the exponent's bias; subnormal halves come out right as well
    memcpy(&bits, &f, 4);
    bits |= sign | (rest >= 0x0f800000 ? 0x7f800000 : 0); // infinity and NaN keep the largest exponent
    memcpy(&f, &bits, 4);
    return f;
}

// ---- NF4 -------------------------------------------------------------------------------------------
// How the scales of an NF4 weight are kept, in a file and in memory.
typedef enum lk_nf4_kind {
    LK_NF4_32 = 0, // blocks of 32 weights with an fp16 scale: 4.5 bits a weight
    LK_NF4_64 = 1, // blocks of 64 with an fp16 scale: 4.25 bits
    LK_NF4_DQ = 2, // double quantization, blocks of 64 with an int8 scale: 4.127 bits
} lk_nf4_kind;

// The NormalFloat codebook of QLoRA (Dettmers et al. 2023, appendix E), and its two integer roundings.
extern const float   lk_nf4_codebook[16];
extern const int16_t lk_nf4_codebook16[16]; // times 16383
extern const int8_t  lk_nf4_codebook8[16];  // times 127

// A strip is 16 rows of W, stored as one stream of groups: 64 bytes of scales, then the codes of as many blocks of
// 32 columns as these are for, 256 bytes each. The last group may be shorter. 64 bytes hold 2 x 16 fp16 scales, of
// two blocks of 32 columns (LK_NF4_32) or of two of 64 (LK_NF4_64), or 4 x 16 int8 scales of blocks of 64
// (LK_NF4_DQ). A block here always is 32 columns; two in a row share the scale of a block of 64. The float32 scales
// of DQ's tiles stand behind the last strip, (strips, tiles).
//
// 256 bytes of codes are 4 groups of 8 columns x 16 rows; a group holds one 32-bit word per row, and nibble k of
// that word is column 2*(k%4) + k/4 of the group:
//
//   nibble  0 1 2 3 4 5 6 7
//   column  0 2 4 6 1 3 5 7
//
// so the two halves of a word hold the even and the odd column of a pair. AVX-512 looks up 16-bit values
// (one per half, a pair per row) by shifting the word right by 0, 4, 8, 12, with no unpacking.
enum { LK_NF4_STRIP = 16, LK_NF4_BLOCK = 32, LK_NF4_GROUPS = 4, LK_NF4_CODES = 256 };
enum { LK_NF4_SCALES = 64, LK_NF4_TILE = 32 }; // bytes of scales in a group; blocks of 32 columns in a tile

typedef struct lk_nf4 {
    lk_nf4_kind kind;
    int n_in, n_out, mode; // mode: an lk_nf4_mode
    int blocks; // n_in/32
    int strips; // n_out/16, rounded up; the rows past n_out are zero
    int tiles;  // of a strip, in DQ
    size_t strip_bytes, bytes;
    uint8_t * data;
    float * tile_scales;
} lk_nf4;

static inline int lk_nf4_nibble_column(int k) { return 2*(k % 4) + k/4; }

// Block b of a strip: where its scales and its codes are.
static inline int lk_nf4_group_blocks(lk_nf4_kind kind) { return 2 << (int) kind; }
static inline size_t lk_nf4_group_at(lk_nf4_kind kind, int b) {
    return (size_t) (b >> (1 + (int) kind))*(size_t) (LK_NF4_SCALES + lk_nf4_group_blocks(kind)*LK_NF4_CODES);
}
static inline size_t lk_nf4_codes_at(lk_nf4_kind kind, int b) {
    return lk_nf4_group_at(kind, b) + LK_NF4_SCALES + (size_t) (b & (lk_nf4_group_blocks(kind) - 1))*LK_NF4_CODES;
}
static inline size_t lk_nf4_scales_at(lk_nf4_kind kind, int b) {
    const int column = kind == LK_NF4_32 ? b : b >> 1; // the number of its own block in the row
    return lk_nf4_group_at(kind, b) + (kind == LK_NF4_DQ ? (size_t) (column & 3)*LK_NF4_STRIP : (size_t) (column & 1)*LK_NF4_STRIP*2);
}

// The scale of a row's block b.
static inline float lk_nf4_scale(const lk_nf4 * w, int row, int b) {
    const uint8_t * at = w->data + (size_t) (row/LK_NF4_STRIP)*w->strip_bytes + lk_nf4_scales_at(w->kind, b);
    uint16_t half;
    if (w->kind == LK_NF4_DQ) {
        return w->tile_scales[(size_t) (row/LK_NF4_STRIP)*(size_t) w->tiles + (size_t) (b/LK_NF4_TILE)]*(float) (int8_t) at[row % LK_NF4_STRIP];
    }
    memcpy(&half, at + 2*(row % LK_NF4_STRIP), 2);
    return lk_half_to_float(half);
}

// ---- Q8_0 and Q6_K ---------------------------------------------------------------------------------
enum lk_int_format { LK_Q8_0 = 0, LK_Q6_K = 1 };

// A strip is 16 rows of W. Four columns of a strip are one register: a 32-bit word per row, a column per byte.
//
// Q8_0, per pair of blocks of 32 columns: the scales (2 blocks, 16 rows) in fp16, 64 bytes, then 8 registers of
// each block, the weights plus 128. An odd last block stands alone, its scales padded to 64 bytes.
//
// Q6_K, per 256 columns: d (16 rows) in fp16, padded to 64 bytes; the int8 scales (16 groups of 16 columns, 16
// rows); then 3 registers per group, for its registers 0 1 2 3 of weights plus 32: two of low nibbles (0 in the
// low half of each byte and 1 in the high one, then 2 and 3), and one of the upper two bits, register k at bits
// 2k and 2k+1.
enum { LK_INT_STRIP = 16, LK_INT_BLOCK = 32, LK_INT_ZERO = 128, LK_Q6_ZERO = 32 }; // the ZEROs make weights unsigned
enum { LK_Q8_CODES = 512, LK_Q8_PAIR = 64 + 2*LK_Q8_CODES, LK_Q6_GROUP = 192, LK_Q6_SUPER = 64 + 256 + 16*LK_Q6_GROUP };

typedef struct lk_int {
    int n_in, n_out, format; // format: an lk_int_format
    int blocks; // n_in/32
    int strips; // n_out/16, rounded up; the rows past n_out are zero
    size_t strip_bytes, bytes;
    uint8_t * data;
} lk_int;

// Where block b of a strip has its scales and codes.
static inline size_t lk_q8_scales_at(int b) { return (size_t) (b/2)*LK_Q8_PAIR + (size_t) (b % 2)*(LK_INT_STRIP*2); }
static inline size_t lk_q8_codes_at(int b) { return (size_t) (b/2)*LK_Q8_PAIR + 64 + (size_t) (b % 2)*LK_Q8_CODES; }
static inline size_t lk_q6_d_at(int b) { return (size_t) (b/8)*LK_Q6_SUPER; }
static inline size_t lk_q6_scales_at(int b) { return lk_q6_d_at(b) + 64 + (size_t) (b % 8)*32; } // of its two groups, 16 bytes each
static inline size_t lk_q6_codes_at(int b) { return lk_q6_d_at(b) + 64 + 256 + (size_t) (b % 8)*2*LK_Q6_GROUP; }

// ---- the packed weight of a tensor -----------------------------------------------------------------
// The packed weight that stands for a tensor of a loaded model: one of the two, or none where the tensor's own data is
// what is read.
typedef struct lk_packed {
    const lk_nf4 * nf4;
    const lk_int * integer;
} lk_packed;

// Looks up the packed weight of `tensor`, a ggml_tensor of the model that `context` stands for. Any thread may call.
typedef lk_packed lk_packed_of(const void * context, const void * tensor);

#ifdef __cplusplus
}
#endif
