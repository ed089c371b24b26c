// NF4 products with AVX2. A block of a strip is decoded into an array that stays in the first-level cache
// while the rows of the chunk pass, two at a time. All rows take the same steps in the same order, whatever
// their number; float sums are fused multiply-adds, so that the compiler has none left to fuse.
#include "internal.h"

#if defined(__x86_64__)
#if defined(__clang__)
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#include <immintrin.h>
#endif
#define INLINE inline __attribute__((always_inline))

namespace {

enum { AHEAD = 2304 }; // bytes prefetched ahead

INLINE __m256i broadcast4(const char * p) {
    int32_t v;
    memcpy(&v, p, 4);
    return _mm256_set1_epi32(v);
}

INLINE __m256i broadcast8(const char * p) {
    long long v;
    memcpy(&v, p, 8);
    return _mm256_set1_epi64x(v);
}

// a + b, at this place in the code: GCC would regroup a long sum and spill its terms.
INLINE __m256i add(__m256i a, __m256i b) {
    a = _mm256_add_epi32(a, b);
    asm("" : "+x"(a));
    return a;
}

INLINE __m256i codes_at(const uint8_t * p) { return _mm256_load_si256((const __m256i *) p); }

// f + sum * (absmax * scale), for 8 rows of W.
INLINE __m256 scaled(__m256 sum, __m256 absmax, float scale, __m256 f) {
    return _mm256_fmadd_ps(sum, _mm256_mul_ps(absmax, _mm256_set1_ps(scale)), f);
}

// The next three are a block of W in the form that a mode multiplies. rows() is the step of N rows: f[j] +
// block * activations, where x + j*stride is a row's prepared activations and f[j] its 16 outputs.

// Eight columns of eight rows are a register of codes; the bytes of its low nibbles are columns 0 4 1 5 of
// each row, those of the high ones 2 6 3 7. Interleaved with their high bytes they become int16, four of a
// row side by side, in two registers: rows 0 1 4 5 and rows 2 3 6 7.
struct block16 {
    __m256i w[4*2*4]; // group, nibble, then rows 0.., 2.., 8.., 10..

    struct book {
        __m256i low, high; // the bytes of the codebook
        INLINE book() {
            const __m128i a = _mm_loadu_si128((const __m128i *) lk_nf4_codebook16), b = _mm_loadu_si128((const __m128i *) lk_nf4_codebook16 + 1);
            const __m128i byte = _mm_set1_epi16(255);
            low = _mm256_broadcastsi128_si256(_mm_packus_epi16(_mm_and_si128(a, byte), _mm_and_si128(b, byte)));
            high = _mm256_broadcastsi128_si256(_mm_packus_epi16(_mm_srli_epi16(a, 8), _mm_srli_epi16(b, 8)));
        }
    };

    INLINE void load(const uint8_t * codes, const book & book) {
        const __m256i mask = _mm256_set1_epi8(15);
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) { // group i/2, rows 8*(i%2)
            const __m256i c = codes_at(codes + 32*i);
            for (int nibble = 0; nibble < 2; nibble++) {
                const __m256i n = _mm256_and_si256(nibble ? _mm256_srli_epi16(c, 4) : c, mask);
                const __m256i low = _mm256_shuffle_epi8(book.low, n), high = _mm256_shuffle_epi8(book.high, n);
                __m256i * to = w + (i/2*2 + nibble)*4 + i % 2*2;
                to[0] = _mm256_unpacklo_epi8(low, high);
                to[1] = _mm256_unpackhi_epi8(low, high);
            }
        }
    }

    template <int N> INLINE void rows(const char * x, size_t stride, int n_in, int b, const __m256 * scales, __m256 (*f)[2]) const {
        const __m256i order = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15));
        alignas(32) char q[N][64]; // the activations with columns in the order of the bytes
        __m256i sum[N][4];
        for (int j = 0; j < N; j++) {
            const __m256i * from = (const __m256i *) (x + j*stride + 64*b);
            _mm256_store_si256((__m256i *) q[j], _mm256_shuffle_epi8(_mm256_loadu_si256(from), order));
            _mm256_store_si256((__m256i *) q[j] + 1, _mm256_shuffle_epi8(_mm256_loadu_si256(from + 1), order));
            for (int k = 0; k < 4; k++) {
                sum[j][k] = _mm256_setzero_si256();
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            for (int j = 0; j < N; j++) {
                const __m256i v = broadcast8(q[j] + 8*i);
#pragma GCC unroll 4
                for (int k = 0; k < 4; k++) {
                    sum[j][k] = add(sum[j][k], _mm256_madd_epi16(w[4*i + k], v));
                }
            }
        }
        for (int j = 0; j < N; j++) {
            const float scale = ((const float *) (x + j*stride + 2*(size_t) n_in))[b];
            for (int h = 0; h < 2; h++) {
                const __m256 s = _mm256_hadd_ps(_mm256_cvtepi32_ps(sum[j][2*h]), _mm256_cvtepi32_ps(sum[j][2*h + 1]));
                f[j][h] = scaled(s, scales[h], scale, f[j][h]);
            }
        }
    }
};

// Products of bytes need one unsigned factor: the activation's magnitude, its sign given to the weight. Pairs
// of products are at most 2*127*127, which int16 holds.
struct block8 {
    __m256i w[4*2*2]; // group, nibble, rows 0.. and 8..

    struct book {
        __m256i values;
        INLINE book() { values = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *) lk_nf4_codebook8)); }
    };

    INLINE void load(const uint8_t * codes, const book & book) {
        const __m256i mask = _mm256_set1_epi8(15);
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            const __m256i c = codes_at(codes + 32*i);
            w[i/2*4 + i % 2] = _mm256_shuffle_epi8(book.values, _mm256_and_si256(c, mask));
            w[i/2*4 + 2 + i % 2] = _mm256_shuffle_epi8(book.values, _mm256_and_si256(_mm256_srli_epi16(c, 4), mask));
        }
    }

    template <int N> INLINE void rows(const char * x, size_t stride, int n_in, int b, const __m256 * scales, __m256 (*f)[2]) const {
        const __m256i ones = _mm256_set1_epi16(1);
        __m256i sum[N][2];
        for (int j = 0; j < N; j++) {
            sum[j][0] = sum[j][1] = _mm256_setzero_si256();
        }
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            for (int j = 0; j < N; j++) {
                const __m256i v = broadcast4(x + j*stride + 32*b + 4*i), magnitude = _mm256_abs_epi8(v);
                for (int h = 0; h < 2; h++) {
                    const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(w[2*i + h], v));
                    sum[j][h] = add(sum[j][h], _mm256_madd_epi16(pairs, ones));
                }
            }
        }
        for (int j = 0; j < N; j++) {
            const float scale = ((const float *) (x + j*stride + n_in))[b];
            for (int h = 0; h < 2; h++) {
                f[j][h] = scaled(_mm256_cvtepi32_ps(sum[j][h]), scales[h], scale, f[j][h]);
            }
        }
    }
};

struct block32 {
    __m256 w[32][2]; // columns, rows 0.. and 8..

    struct book {
        __m256 first, second; // the eight negative values, and the others
        INLINE book() {
            first = _mm256_loadu_ps(lk_nf4_codebook);
            second = _mm256_loadu_ps(lk_nf4_codebook + 8);
        }
    };

    INLINE void load(const uint8_t * codes, const book & book) {
        for (int i = 0; i < 8; i++) {
            const __m256i c = codes_at(codes + 32*i);
#pragma GCC unroll 8
            for (int k = 0; k < 8; k++) { // a lookup reads the low three bits of the nibble, the blend its fourth
                const __m256i n = _mm256_srli_epi32(c, 4*k), fourth = _mm256_slli_epi32(c, 28 - 4*k);
                w[i/2*8 + lk_nf4_nibble_column(k)][i % 2] = _mm256_blendv_ps(_mm256_permutevar8x32_ps(book.first, n),
                    _mm256_permutevar8x32_ps(book.second, n), _mm256_castsi256_ps(fourth));
            }
        }
    }

    template <int N> INLINE void rows(const char * x, size_t stride, int, int b, const __m256 * scales, __m256 (*f)[2]) const {
        __m256 sum[N][2][2]; // of even and odd columns
        for (int j = 0; j < N; j++) {
            for (int h = 0; h < 2; h++) {
                sum[j][0][h] = sum[j][1][h] = _mm256_setzero_ps();
            }
        }
#pragma GCC unroll 1
        for (int c = 0; c < LK_NF4_BLOCK; c += 2) {
            for (int j = 0; j < N; j++) {
                const float * v = (const float *) (x + j*stride) + b*LK_NF4_BLOCK + c;
                for (int h = 0; h < 2; h++) {
                    sum[j][0][h] = _mm256_fmadd_ps(w[c][h], _mm256_set1_ps(v[0]), sum[j][0][h]);
                    sum[j][1][h] = _mm256_fmadd_ps(w[c + 1][h], _mm256_set1_ps(v[1]), sum[j][1][h]);
                }
            }
        }
        for (int j = 0; j < N; j++) {
            for (int h = 0; h < 2; h++) {
                f[j][h] = _mm256_fmadd_ps(_mm256_add_ps(sum[j][0][h], sum[j][1][h]), scales[h], f[j][h]);
            }
        }
    }
};

// The scales of block b of a strip, of 8 rows and 8 rows.
template <lk_nf4_kind KIND> INLINE void scales_of(const uint8_t * strip, const float * tiles, int b, __m256 * out) {
    const uint8_t * at = strip + lk_nf4_scales_at(KIND, b);
    if (KIND == LK_NF4_DQ) {
        const __m256 tile = _mm256_set1_ps(tiles[b/LK_NF4_TILE]);
        const __m128i eight = _mm_load_si128((const __m128i *) at);
        out[0] = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight)), tile);
        out[1] = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(eight, 8))), tile);
        return;
    }
    out[0] = _mm256_cvtph_ps(_mm_load_si128((const __m128i *) at));
    out[1] = _mm256_cvtph_ps(_mm_load_si128((const __m128i *) at + 1));
}

template <typename B, lk_nf4_kind KIND> void rows_of(const lk_nf4 * w, int s, const char * xq, size_t xq_stride, int rows, __m256 (*f)[2], lk_ahead * ahead) {
    const uint8_t * strip = w->data + s*w->strip_bytes;
    const float * tiles = w->tile_scales + (size_t) s*w->tiles;
    const typename B::book book;
    for (int t = 0; t < rows; t++) {
        f[t][0] = f[t][1] = _mm256_setzero_ps();
    }
    for (int b = 0; b < w->blocks; b++) {
        const uint8_t * codes = strip + lk_nf4_codes_at(KIND, b);
        __m256 scales[2];
        scales_of<KIND>(strip, tiles, b, scales);
        for (int line = 0; line < LK_NF4_CODES + 64; line += 64) {
            _mm_prefetch((const char *) codes + AHEAD + line, _MM_HINT_T0);
        }
        lk_prefetch(ahead);
        B block; // NOLINT(cppcoreguidelines-pro-type-member-init): filled below
        block.load(codes, book);
        const char * x = xq;
        int t = 0;
        for (; t + 2 <= rows; t += 2, x += 2*xq_stride) {
            block.template rows<2>(x, xq_stride, w->n_in, b, scales, f + t);
        }
        if (t < rows) {
            block.template rows<1>(x, xq_stride, w->n_in, b, scales, f + t);
        }
    }
}

template <typename B> void strip_of(const lk_nf4 * w, int s, const char * xq, size_t xq_stride, int rows, char * y, size_t y_stride, int valid, lk_ahead * ahead) {
    __m256 f[NF4_CHUNK][2];
    switch (w->kind) {
    case LK_NF4_64: rows_of<B, LK_NF4_64>(w, s, xq, xq_stride, rows, f, ahead); break;
    case LK_NF4_DQ: rows_of<B, LK_NF4_DQ>(w, s, xq, xq_stride, rows, f, ahead); break;
    default: rows_of<B, LK_NF4_32>(w, s, xq, xq_stride, rows, f, ahead);
    }
    for (int t = 0; t < rows; t++) {
        memcpy(y + t*y_stride, f[t], valid*sizeof(float));
    }
}

void strip(const lk_nf4 * w, int mode, int s, const char * xq, size_t xq_stride, int rows, char * y, size_t y_stride, int valid, lk_ahead * ahead) {
    switch (mode) {
    case LK_NF4_I16: strip_of<block16>(w, s, xq, xq_stride, rows, y, y_stride, valid, ahead); break;
    case LK_NF4_I8: strip_of<block8>(w, s, xq, xq_stride, rows, y, y_stride, valid, ahead); break;
    default: strip_of<block32>(w, s, xq, xq_stride, rows, y, y_stride, valid, ahead);
    }
}

// The largest magnitude of 32 values, from the bits, so that a NaN wins.
INLINE float block_absmax(const __m256 * v) {
    const __m256i bits = _mm256_set1_epi32(0x7fffffff);
    __m256i most = _mm256_setzero_si256();
    for (int i = 0; i < 4; i++) {
        most = _mm256_max_epu32(most, _mm256_and_si256(_mm256_castps_si256(v[i]), bits));
    }
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(m));
}

INLINE int32_t sum_of(__m256i v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

void quantize(int mode, int blocks, const float * x, void * xq, int b0, int b1) {
    const size_t n = (size_t) blocks*LK_NF4_BLOCK;
    const bool wide = mode == LK_NF4_I16;
    char * q = (char *) xq;
    float * scales = (float *) (q + (wide ? 2*n : n));
    int32_t * sums = (int32_t *) (scales + blocks);
    for (int b = b0; b < b1; b++) {
        __m256 v[4];
        __m256i i[4], sum = _mm256_setzero_si256();
        for (int k = 0; k < 4; k++) {
            v[k] = _mm256_loadu_ps(x + b*LK_NF4_BLOCK + 8*k);
        }
        const float absmax = block_absmax(v), scale = nf4_activation_scale(mode, absmax);
        const __m256 inverse = _mm256_set1_ps(scale > 0 ? (wide ? NF4_X16 : NF4_X8)/absmax : 0);
        const __m256i keep = _mm256_set1_epi32(scale > 0 ? -1 : 0);
        for (int k = 0; k < 4; k++) {
            i[k] = _mm256_and_si256(_mm256_cvtps_epi32(_mm256_mul_ps(v[k], inverse)), keep);
            sum = _mm256_add_epi32(sum, i[k]);
        }
        scales[b] = scale;
        // packs works within 128 bits: the quarters 0 2 1 3 come out, and 0 1 2 3 after the permutation.
        const __m256i low = _mm256_permute4x64_epi64(_mm256_packs_epi32(i[0], i[1]), 0xd8);
        const __m256i high = _mm256_permute4x64_epi64(_mm256_packs_epi32(i[2], i[3]), 0xd8);
        if (wide) {
            _mm256_storeu_si256((__m256i *) (q + 64*b), low);
            _mm256_storeu_si256((__m256i *) (q + 64*b + 32), high);
            continue;
        }
        const __m256i order = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15)); // the columns by place
        const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8);
        _mm256_storeu_si256((__m256i *) (q + 32*b), _mm256_shuffle_epi8(bytes, order));
        sums[b] = -128*sum_of(sum);
    }
}

} // namespace

const lk_nf4_ops lk_nf4_avx2 = { quantize, strip };

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
