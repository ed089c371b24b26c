// What the kernel files share: the packed layouts, and the table of functions that each instruction set fills.
//
// Only C headers here: the files of an instruction set are compiled for wider targets than the rest, and an
// inline function of the C++ library that they instantiate could be the copy the linker keeps for everybody.
#pragma once
#include "kernels.h"
#include <math.h>
#include <string.h>

// ---- NF4 -------------------------------------------------------------------------------------------
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
enum { NF4_STRIP = 16, NF4_BLOCK = 32, NF4_GROUPS = 4, NF4_CODES = 256, NF4_CHUNK = 64 };
enum { NF4_SCALES = 64, NF4_TILE = 32 }; // bytes of scales in a group; blocks of 32 columns in a tile

static inline int nf4_nibble_column(int k) { return 2*(k % 4) + k/4; }
static inline int nf4_nibble_place(int k) { return k/2 + 4*(k % 2); } // low nibbles of the bytes, then high ones

struct lk_nf4 {
    int kind, n_in, n_out, mode;
    int blocks; // n_in/32
    int strips; // n_out/16, rounded up; the rows past n_out are zero
    int tiles;  // of a strip, in DQ
    size_t strip_bytes, bytes;
    uint8_t * data;
    float * tile_scales;
};

// Block b of a strip: where its scales and its codes are.
static inline int nf4_group(int kind) { return 2 << kind; } // its blocks
static inline size_t nf4_group_at(int kind, int b) { return (size_t) (b >> (1 + kind))*(NF4_SCALES + nf4_group(kind)*NF4_CODES); }
static inline size_t nf4_codes_at(int kind, int b) { return nf4_group_at(kind, b) + NF4_SCALES + (size_t) (b & (nf4_group(kind) - 1))*NF4_CODES; }
static inline size_t nf4_scales_at(int kind, int b) {
    const int column = kind == LK_NF4_32 ? b : b >> 1; // the number of its own block in the row
    return nf4_group_at(kind, b) + (kind == LK_NF4_DQ ? (size_t) (column & 3)*NF4_STRIP : (size_t) (column & 1)*NF4_STRIP*2);
}

static inline float f16_to_f32(uint16_t h);

// The scale of a row's block b.
static inline float nf4_scale(const lk_nf4 * w, int row, int b) {
    const uint8_t * at = w->data + row/NF4_STRIP*w->strip_bytes + nf4_scales_at(w->kind, b);
    if (w->kind == LK_NF4_DQ) {
        return w->tile_scales[(size_t) (row/NF4_STRIP)*w->tiles + b/NF4_TILE]*(int8_t) at[row % NF4_STRIP];
    }
    uint16_t half;
    memcpy(&half, at + 2*(row % NF4_STRIP), 2);
    return f16_to_f32(half);
}

// The NormalFloat codebook of QLoRA (Dettmers et al. 2023, appendix E), and its two integer roundings.
extern const float   lk_nf4_codebook[16];
extern const int16_t lk_nf4_codebook16[16]; // times 16383
extern const int8_t  lk_nf4_codebook8[16];  // times 127

// A prepared activation row: n_in integers, then one float scale per block; in I8 then one int32 per
// block. The integers stand in column order in I16. In I8 they stand in nibble order within every 8
// columns (low nibbles, then high ones), so that four of them meet the four bytes of a word of codes, and
// the int32 is -128 times their sum: it takes back the 128 that makes the codebook unsigned for AVX-512.
//
// 16 products of 16383 x NF4_X16 fit an int32; a block is therefore summed in two halves of 16 columns.
// The scale includes the codebook's unit. A block below NF4_TINY counts as zero, and one that holds an
// infinity or a NaN gets the scale NaN, so that it is not lost.
enum { NF4_X16 = 8190, NF4_X8 = 127, NF4_BOOK16 = 16383, NF4_BOOK8 = 127 };
#define NF4_TINY 1e-29f

static inline float nf4_activation_scale(int mode, float absmax) { // also right for NaN
    if (absmax < NF4_TINY) {
        return 0;
    }
    if (!(absmax <= 3.4e38f)) {
        return absmax - absmax; // NaN
    }
    return mode == LK_NF4_I16 ? absmax/NF4_X16/NF4_BOOK16 : absmax/NF4_X8/NF4_BOOK8;
}

static inline size_t lk_align(size_t n) { return (n + 63) & ~(size_t) 63; }

// ---- LoRA ------------------------------------------------------------------------------------------
// A is stored in blocks of `lanes` ranks: [padded/lanes][n_in][lanes]. lanes is 4 or 8 for ranks up to
// those, else 16; the last block is padded with zero ranks.
// B is stored in tiles of 64 outputs: [tiles][rank][64]; the last tile is padded with zero outputs.
// Both are read as one stream per row.
enum { LORA_TILE = 64, LORA_ROWS = 4 };

struct lk_lora {
    int rank, n_in, n_out, type;
    int lanes, padded, tiles;
    float unit;   // what one stored unit of B A is worth: F16 storage scales both by powers of two
    size_t bytes;
    uint8_t * a, * b;
    float * gain, * shift; // (n_out), or NULL: none
};

// Lines to prefetch while something else is computed: `each` of them whenever it is asked.
struct lk_ahead {
    const lk_piece * piece, * end;
    size_t at;  // bytes of *piece that are done
    int each;
};

static inline void lk_prefetch(lk_ahead * a) {
    for (int i = 0; i < a->each && a->piece < a->end; i++) {
        __builtin_prefetch((const char *) a->piece->data + a->at, 0, 2); // into the second-level cache
        a->at += 64;
        if (a->at >= a->piece->bytes) {
            a->piece++;
            a->at = 0;
        }
    }
}

// What to prefetch while p is read, in a stream that ends at `end` and goes on at `next`. A module is too short for the
// hardware's own prefetcher, and the modules of different rows lie apart.
enum { LORA_AHEAD = 2048 };
static inline const void * lora_ahead(const void * p, const uint8_t * end, const uint8_t * next) {
    const uint8_t * a = (const uint8_t *) p + LORA_AHEAD;
    return a < end ? a : next + (a - end);
}

// lk_lora_expand for the outputs of tiles [t0, t1) of 64, whose B is in the cache where `cached`; and the pieces of B
// that it reads.
void lk_lora_expand_tiles(const lk_row * row, int rows, const float * h, size_t h_stride, float * y, size_t y_stride, int t0, int t1, bool cached);
int  lk_lora_tile_pieces(const lk_row * row, int rows, int tile, lk_piece * out, int room);

// ---- instruction sets ------------------------------------------------------------------------------
// Each file of an instruction set defines one table.
struct lk_nf4_ops {
    // Blocks [b0, b1) of one row: x (n_in) to a prepared row of `blocks` blocks.
    void (*quantize)(int mode, int blocks, const float * x, void * xq, int b0, int b1);
    // y (rows, 16) = xq W^T for one strip, rows at most NF4_CHUNK; only the first `valid` outputs are written. It calls
    // lk_prefetch(ahead) once per block.
    void (*strip)(const lk_nf4 * w, int strip, const char * xq, size_t xq_stride, int rows, char * y, size_t y_stride, int valid, lk_ahead * ahead);
};
struct lk_lora_ops {
    // h[j] (padded) = A[:, i0:i1] x[j][i0:i1] for j < rows <= LORA_ROWS. i0 is a multiple of 16; so is i1, or it is n_in.
    // next is what this thread reads afterwards: it is prefetched when A ends.
    void (*shrink)(const lk_lora * m, int i0, int i1, int rows, const float * const * x, float * const * h, const uint8_t * next);
    // y[j] += B h[j] for the outputs of tiles [t0, t1). h is (rows, LK_MAX_RANK) and already scaled. next as above, or
    // NULL where B is in the cache already.
    void (*expand)(const lk_lora * m, int t0, int t1, int rows, const float * h, float * const * y, const uint8_t * next);
};
const lk_nf4_ops & lk_nf4_now(void); // those of the instruction set in use
// How many rows pass over every strip before the next ones begin, by the bytes of a prepared row.
int lk_nf4_chunk(size_t stride);
extern const lk_nf4_ops lk_nf4_portable, lk_nf4_avx2, lk_nf4_avx512;
extern const lk_lora_ops lk_lora_portable, lk_lora_avx2, lk_lora_avx512;

// Zeroed memory aligned to 64 bytes, or NULL; any thread may call. lk_free takes the size that was asked for.
void * lk_alloc(size_t bytes);
void   lk_free(void * p, size_t bytes);

// ---- fp16 ------------------------------------------------------------------------------------------
static inline float f16_to_f32(uint16_t h) {
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
