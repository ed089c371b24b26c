// NF4 products with AVX-512. A lane of a register is a row of the strip. The codes of a block are looked up
// once and stay in registers while every row of the chunk passes; a row's activations are broadcast from
// memory, two int16 or four int8 columns at a time.
//
// All rows take the same steps in the same order, whatever their number. Sums are written as fused
// multiply-adds, so that the compiler has none left to fuse in one place and not in another.
#include "internal.h"

#if defined(__x86_64__)
#if defined(__clang__)
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")
#include <immintrin.h>
#endif
#define INLINE inline __attribute__((always_inline))

namespace {

// Bytes read ahead. The hardware's own prefetcher stops at every page, and the pauses of a chunk between its blocks put
// it off: on a Xeon a single row is 1.5 times as fast with ours.
enum { AHEAD = 4608 };

INLINE __m512i broadcast4(const char * p) {
    int32_t v;
    memcpy(&v, p, 4);
    return _mm512_set1_epi32(v);
}

// The scales of block b of a strip. tiles are those of the strip.
template <lk_nf4_kind KIND> INLINE __m512 scales_of(const uint8_t * strip, const float * tiles, int b) {
    const uint8_t * at = strip + lk_nf4_scales_at(KIND, b);
    if (KIND == LK_NF4_DQ) {
        const __m512i eight = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *) at));
        return _mm512_mul_ps(_mm512_cvtepi32_ps(eight), _mm512_set1_ps(tiles[b/LK_NF4_TILE]));
    }
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) at));
}

// The next four are a piece of W in the form that a mode multiplies: part `p` of PARTS of the BLOCKS from b on, which
// have the same scales. row() is the step of one row: f + piece * activations, where x is the row's prepared
// activations. load() reads the codes; the scales are set by the caller.

struct piece16 {
    enum { BLOCKS = 1, PARTS = 1 };
    __m512i w[16]; // columns 2j and 2j+1
    __m512 scales;

    static INLINE __m512i book() { return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *) lk_nf4_codebook16)); }

    INLINE void load(const uint8_t * codes, int, __m512i book) {
#pragma GCC unroll 4
        for (int g = 0; g < LK_NF4_GROUPS; g++) { // an index is the low five bits, and the book repeats after sixteen
            const __m512i c = _mm512_loadu_si512(codes + 64*g);
            w[4*g + 0] = _mm512_permutexvar_epi16(c, book);
            w[4*g + 1] = _mm512_permutexvar_epi16(_mm512_srli_epi16(c, 4), book);
            w[4*g + 2] = _mm512_permutexvar_epi16(_mm512_srli_epi16(c, 8), book);
            w[4*g + 3] = _mm512_permutexvar_epi16(_mm512_srli_epi16(c, 12), book);
        }
    }

    INLINE __m512 row(const char * x, int n_in, int b, int, __m512 f) const {
        const char * q = x + 2*LK_NF4_BLOCK*b;
        __m512i first = _mm512_setzero_si512(), second = first;
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) {
            first = _mm512_dpwssd_epi32(first, w[j], broadcast4(q + 4*j));
            second = _mm512_dpwssd_epi32(second, w[8 + j], broadcast4(q + 32 + 4*j));
        }
        const __m512 sum = _mm512_add_ps(_mm512_cvtepi32_ps(first), _mm512_cvtepi32_ps(second));
        const float scale = ((const float *) (x + 2*(size_t) n_in))[b];
        return _mm512_fmadd_ps(sum, _mm512_mul_ps(scales, _mm512_set1_ps(scale)), f);
    }
};

// The codes of a block as int8 columns, four in a word of each row, plus 128.
INLINE __m512i book8() {
    const __m128i signed_book = _mm_loadu_si128((const __m128i *) lk_nf4_codebook8);
    return _mm512_broadcast_i32x4(_mm_xor_si128(signed_book, _mm_set1_epi8((char) 0x80)));
}

INLINE void load8(const uint8_t * codes, __m512i book, __m512i * w) {
    const __m512i low = _mm512_set1_epi8(15);
#pragma GCC unroll 4
    for (int g = 0; g < LK_NF4_GROUPS; g++) {
        const __m512i c = _mm512_loadu_si512(codes + 64*g);
        w[2*g + 0] = _mm512_shuffle_epi8(book, _mm512_and_si512(c, low));
        w[2*g + 1] = _mm512_shuffle_epi8(book, _mm512_and_si512(_mm512_srli_epi16(c, 4), low));
    }
}

// The integer sum of block b.
INLINE __m512 sum8(const __m512i * w, const char * x, const char * sums, int b) {
    const char * q = x + LK_NF4_BLOCK*b;
    __m512i even = broadcast4(sums + 4*b), odd = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (int j = 0; j < 8; j += 2) {
        even = _mm512_dpbusd_epi32(even, w[j], broadcast4(q + 4*j));
        odd = _mm512_dpbusd_epi32(odd, w[j + 1], broadcast4(q + 4*j + 4));
    }
    return _mm512_cvtepi32_ps(_mm512_add_epi32(even, odd));
}

struct piece8 {
    enum { BLOCKS = 1, PARTS = 1 };
    __m512i w[8];
    __m512 scales;

    static INLINE __m512i book() { return book8(); }

    INLINE void load(const uint8_t * codes, int, __m512i book) { load8(codes, book, w); }

    INLINE __m512 row(const char * x, int n_in, int b, int, __m512 f) const {
        const char * steps = x + n_in;
        const __m512 sum = sum8(w, x, steps + n_in/8, b);
        return _mm512_fmadd_ps(sum, _mm512_mul_ps(scales, _mm512_set1_ps(((const float *) steps)[b])), f);
    }
};

// Two blocks that share their scales.
struct pair8 {
    enum { BLOCKS = 2, PARTS = 1 };
    __m512i w[16];
    __m512 scales;

    static INLINE __m512i book() { return book8(); }

    INLINE void load(const uint8_t * codes, int, __m512i book) {
        load8(codes, book, w);
        load8(codes + LK_NF4_CODES, book, w + 8);
    }

    INLINE __m512 row(const char * x, int n_in, int b, int, __m512 f) const {
        const char * steps = x + n_in, * sums = steps + n_in/8;
        const __m512 first = _mm512_mul_ps(sum8(w, x, sums, b), _mm512_set1_ps(((const float *) steps)[b]));
        const __m512 both = _mm512_fmadd_ps(sum8(w + 8, x, sums, b + 1), _mm512_set1_ps(((const float *) steps)[b + 1]), first);
        return _mm512_fmadd_ps(both, scales, f);
    }
};

struct piece32 {
    enum { BLOCKS = 1, PARTS = 2 }; // 32 columns would take all registers
    __m512 w[16];
    __m512 scales;

    static INLINE __m512 book() { return _mm512_loadu_ps(lk_nf4_codebook); }

    INLINE void load(const uint8_t * codes, int p, __m512 book) {
        codes += 128*p;
#pragma GCC unroll 2
        for (int g = 0; g < 2; g++) {
            const __m512i c = _mm512_loadu_si512(codes + 64*g);
#pragma GCC unroll 8
            for (int k = 0; k < 8; k++) {
                w[8*g + lk_nf4_nibble_column(k)] = _mm512_permutexvar_ps(_mm512_srli_epi32(c, 4*k), book);
            }
        }
    }

    INLINE __m512 row(const char * x, int, int b, int p, __m512 f) const {
        const float * v = (const float *) x + LK_NF4_BLOCK*b + 16*p;
        __m512 even = _mm512_mul_ps(w[0], _mm512_set1_ps(v[0])), odd = _mm512_mul_ps(w[1], _mm512_set1_ps(v[1]));
#pragma GCC unroll 7
        for (int j = 2; j < 16; j += 2) {
            even = _mm512_fmadd_ps(w[j], _mm512_set1_ps(v[j]), even);
            odd = _mm512_fmadd_ps(w[j + 1], _mm512_set1_ps(v[j + 1]), odd);
        }
        return _mm512_fmadd_ps(_mm512_add_ps(even, odd), scales, f);
    }
};

// A strip as its kernels read it.
struct stream {
    const uint8_t * data;
    const float * tiles;
    int blocks, n_in;
};

// Prefetches what lies AHEAD of some blocks: codes, and the scales that may stand between them.
template <int BLOCKS> INLINE void read_ahead(const uint8_t * codes) {
#pragma GCC unroll 9
    for (int line = 0; line < BLOCKS*LK_NF4_CODES + 64; line += 64) {
        _mm_prefetch((const char *) codes + AHEAD + line, _MM_HINT_T0);
    }
}

template <typename P, lk_nf4_kind KIND> __m512 one_row(const stream & w, const char * x) {
    const auto book = P::book();
    __m512 f = _mm512_setzero_ps();
    for (int b = 0; b < w.blocks; b += P::BLOCKS) {
        const uint8_t * codes = w.data + lk_nf4_codes_at(KIND, b);
        read_ahead<P::BLOCKS>(codes);
        P piece; // NOLINT(cppcoreguidelines-pro-type-member-init): filled below
        piece.scales = scales_of<KIND>(w.data, w.tiles, b);
        for (int p = 0; p < P::PARTS; p++) {
            piece.load(codes, p, book);
            f = piece.row(x, w.n_in, b, p, f);
        }
    }
    return f;
}

template <typename P, lk_nf4_kind KIND> void some_rows(const stream & w, const char * xq, size_t xq_stride, int rows, __m512 * f, lk_ahead * ahead) {
    const auto book = P::book();
    for (int t = 0; t < rows; t++) {
        f[t] = _mm512_setzero_ps();
    }
    for (int b = 0; b < w.blocks; b += P::BLOCKS) {
        const uint8_t * codes = w.data + lk_nf4_codes_at(KIND, b);
        read_ahead<P::BLOCKS>(codes);
        for (int i = 0; i < P::BLOCKS; i++) {
            lk_prefetch(ahead);
        }
        P piece; // NOLINT(cppcoreguidelines-pro-type-member-init): filled below
        piece.scales = scales_of<KIND>(w.data, w.tiles, b);
        for (int p = 0; p < P::PARTS; p++) {
            piece.load(codes, p, book);
            const char * x = xq;
            for (int t = 0; t < rows; t++, x += xq_stride) {
                f[t] = piece.row(x, w.n_in, b, p, f[t]);
            }
        }
    }
}

template <typename P, lk_nf4_kind KIND> void rows_of(const stream & w, const char * xq, size_t xq_stride, int rows, __m512 * f, lk_ahead * ahead) {
    if (rows == 1) {
        f[0] = one_row<P, KIND>(w, xq); // the memory is busy with W alone: nothing is gained by reading `ahead`
    } else {
        some_rows<P, KIND>(w, xq, xq_stride, rows, f, ahead);
    }
}

// P multiplies the blocks of kind LK_NF4_32, P64 those of the others.
template <typename P, typename P64> void strip_of(const lk_nf4 * w, int s, const char * xq, size_t xq_stride, int rows, char * y, size_t y_stride, int valid, lk_ahead * ahead) {
    const stream strip = {w->data + s*w->strip_bytes, w->tile_scales + (size_t) s*w->tiles, w->blocks, w->n_in};
    __m512 f[NF4_CHUNK];
    switch (w->kind) {
    case LK_NF4_64: rows_of<P64, LK_NF4_64>(strip, xq, xq_stride, rows, f, ahead); break;
    case LK_NF4_DQ: rows_of<P64, LK_NF4_DQ>(strip, xq, xq_stride, rows, f, ahead); break;
    default: rows_of<P, LK_NF4_32>(strip, xq, xq_stride, rows, f, ahead);
    }
    const __mmask16 mask = (__mmask16) ((1u << valid) - 1);
    for (int t = 0; t < rows; t++) {
        _mm512_mask_storeu_ps(y + t*y_stride, mask, f[t]);
    }
}

void strip(const lk_nf4 * w, int mode, int s, const char * xq, size_t xq_stride, int rows, char * y, size_t y_stride, int valid, lk_ahead * ahead) {
    switch (mode) {
    case LK_NF4_I16: strip_of<piece16, piece16>(w, s, xq, xq_stride, rows, y, y_stride, valid, ahead); break;
    case LK_NF4_I8: strip_of<piece8, pair8>(w, s, xq, xq_stride, rows, y, y_stride, valid, ahead); break;
    default: strip_of<piece32, piece32>(w, s, xq, xq_stride, rows, y, y_stride, valid, ahead);
    }
}

// Two halves of a block as integers. The magnitude is taken from the bits, so that a NaN wins.
INLINE float block_absmax(__m512 v0, __m512 v1) {
    const __m512i bits = _mm512_set1_epi32(0x7fffffff);
    const __m512i a = _mm512_and_si512(_mm512_castps_si512(v0), bits), b = _mm512_and_si512(_mm512_castps_si512(v1), bits);
    const uint32_t most = _mm512_reduce_max_epu32(_mm512_max_epu32(a, b));
    float f;
    memcpy(&f, &most, 4);
    return f;
}

void quantize(int mode, int blocks, const float * x, void * xq, int b0, int b1) {
    const size_t n = (size_t) blocks*LK_NF4_BLOCK;
    const bool wide = mode == LK_NF4_I16;
    char * q = (char *) xq;
    float * scales = (float *) (q + (wide ? 2*n : n));
    int32_t * sums = (int32_t *) (scales + blocks);
    for (int b = b0; b < b1; b++) {
        const __m512 v0 = _mm512_loadu_ps(x + b*LK_NF4_BLOCK), v1 = _mm512_loadu_ps(x + b*LK_NF4_BLOCK + 16);
        const float absmax = block_absmax(v0, v1), scale = nf4_activation_scale(mode, absmax);
        scales[b] = scale;
        const __m512 inverse = _mm512_set1_ps(scale > 0 ? (wide ? NF4_X16 : NF4_X8)/absmax : 0);
        const __mmask16 keep = scale > 0 ? 0xffff : 0;
        const __m512i i0 = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(v0, inverse));
        const __m512i i1 = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(v1, inverse));
        if (wide) {
            _mm256_storeu_si256((__m256i *) (q + 64*b), _mm512_cvtepi32_epi16(i0));
            _mm256_storeu_si256((__m256i *) (q + 64*b + 32), _mm512_cvtepi32_epi16(i1));
            continue;
        }
        const __m128i order = _mm_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15); // the columns by place
        _mm_storeu_si128((__m128i *) (q + 32*b), _mm_shuffle_epi8(_mm512_cvtepi32_epi8(i0), order));
        _mm_storeu_si128((__m128i *) (q + 32*b + 16), _mm_shuffle_epi8(_mm512_cvtepi32_epi8(i1), order));
        sums[b] = -128*_mm512_reduce_add_epi32(_mm512_add_epi32(i0, i1));
    }
}

} // namespace

const lk_nf4_ops lk_nf4_avx512 = { quantize, strip };

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
