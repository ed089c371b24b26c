// What the kernel files share beside layout.h: prepared activations, the layout of LoRA modules, and the table of
// functions that each instruction set fills. Only C headers here, for the reason that layout.h gives.
#pragma once
#include "kernels.h"
#include <math.h>
#include <string.h>

// ---- NF4 -------------------------------------------------------------------------------------------
static inline int nf4_nibble_place(int k) { return k/2 + 4*(k % 2); } // low nibbles of the bytes, then high ones
enum { NF4_CHUNK = 64 }; // the most rows that a strip is multiplied with at once

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
    float unit;   // the factor that stored products B A are multiplied with: F16 storage scales both by powers of two
    lk_arena * arena; // that the memory is of; NULL: it is the module's own
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
int  lk_lora_tile_pieces(const lk_row * row, int rows, int tile, lk_piece * out, int capacity);

// ---- instruction sets ------------------------------------------------------------------------------
// Each file of an instruction set defines one table.
struct lk_nf4_ops {
    // Blocks [b0, b1) of one row: x (n_in) to a prepared row of `blocks` blocks.
    void (*quantize)(int mode, int blocks, const float * x, void * xq, int b0, int b1);
    // y (rows, 16) = xq W^T for one strip, xq being prepared for the mode, rows at most NF4_CHUNK; only the first `valid` outputs are written. It calls
    // lk_prefetch(ahead) once per block.
    void (*strip)(const lk_nf4 * w, int mode, int strip, const char * xq, size_t xq_stride, int rows, char * y, size_t y_stride, int valid, lk_ahead * ahead);
};
struct lk_lora_ops {
    // h[j] (padded) = A[:, i0:i1] x[j][i0:i1] for j < rows <= LORA_ROWS. i0 is a multiple of 16; so is i1, or it is n_in.
    // next is what this thread reads afterwards: it is prefetched when A ends.
    void (*shrink)(const lk_lora * m, int i0, int i1, int rows, const float * const * x, float * const * h, const uint8_t * next);
    // y[j] += B h[j] for the outputs of tiles [t0, t1). h is (rows, LK_MAX_RANK) and already scaled. next as above, or
    // NULL where B is in the cache already.
    void (*expand)(const lk_lora * m, int t0, int t1, int rows, const float * h, float * const * y, const uint8_t * next);
};
typedef int (*lk_argmax_of)(const float * x, const uint64_t * mask, int n); // lk_argmax
extern const lk_argmax_of lk_argmax_portable, lk_argmax_avx2, lk_argmax_avx512;
const lk_nf4_ops & lk_nf4_now(void); // those of the instruction set in use
// How many rows pass over every strip before the next ones begin, by the bytes of a prepared row.
int lk_nf4_chunk(size_t stride);
extern const lk_nf4_ops lk_nf4_portable, lk_nf4_avx2, lk_nf4_avx512;
extern const lk_lora_ops lk_lora_portable, lk_lora_avx2, lk_lora_avx512;

// Zeroed memory aligned to 64 bytes, or NULL; any thread may call. lk_free takes the size that was asked for.
void * lk_alloc(size_t bytes);
void   lk_free(void * p, size_t bytes);
