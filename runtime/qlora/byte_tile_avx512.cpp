// The byte tile for AVX-512 with VNNI, 6 x 32: a block of weights stays in sixteen registers for six rows, each
// of which sums it in integers (vpdpbusd) and adds the scaled sums to its floats.
#if defined(__x86_64__)
#pragma GCC target("arch=x86-64-v4,avx512vnni")
#include "../kernels/layout.h"
#include "tiles.h"
#include "transpose.inc.h"
#include <immintrin.h>

namespace lq {
namespace {

inline float half_at(const void * p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h)));
}

// ---- A ---------------------------------------------------------------------------------------------
// One row's block of 32, rounded as ggml's Q8_0.
void quantize(const float * x, int8_t * q, float * scale, int32_t * sum) {
    const __m512 low = _mm512_loadu_ps(x), high = _mm512_loadu_ps(x + 16);
    const float top = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)));
    const __m512 inverse = _mm512_set1_ps(top > 0 ? 127/top : 0);
    const __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(low, inverse)), b = _mm512_cvtps_epi32(_mm512_mul_ps(high, inverse));
    _mm_storeu_si128((__m128i *) q, _mm512_cvtepi32_epi8(a));
    _mm_storeu_si128((__m128i *) (q + 16), _mm512_cvtepi32_epi8(b));
    *sum = _mm512_reduce_add_epi32(_mm512_add_epi32(a, b));
    // A NaN must not be lost: the largest of a block with one may not be it.
    const bool finite = _mm512_cmp_ps_mask(_mm512_add_ps(low, high), _mm512_add_ps(low, high), _CMP_ORD_Q) == 0xffff;
    *scale = finite ? _cvtsh_ss(_cvtss_sh(top/127, 0)) : top/127 + (low[0] - low[0])/0.0f;
}

void pack_a(const float * x, ptrdiff_t ld, int m, int depth, ByteBlock * out) {
    for (int k = 0; k < depth; k += BYTE_DEPTH, out++) {
        for (int i = 0; i < BYTE_ROWS; i++) {
            if (i < m) {
                quantize(x + i*ld + k, out->q[i], &out->d[i], &out->sum[i]);
            } else {
                memset(out->q[i], 0, BYTE_DEPTH);
                out->d[i] = 0;
                out->sum[i] = 0;
            }
        }
    }
}

// ---- B ---------------------------------------------------------------------------------------------
const int8_t iq4_book[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

inline __m256i nibbles(__m128i q) {
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(q, 4), q), _mm256_set1_epi8(15));
}

// The codes of a book, plus 128.
inline __m256i look_up(const int8_t * book, __m256i codes) {
    const __m128i b = _mm_add_epi8(_mm_loadu_si128((const __m128i *) book), _mm_set1_epi8((char) 128));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(b), codes);
}

// Block `block` of a row: its unsigned bytes, and its scale.
template <int kind> inline __m256i row_bytes(const Weight & w, int row, int block, float * scale) {
    const uint8_t * p = (const uint8_t *) w.data;
    if (kind == LQ_Q8_0) {
        p += (size_t) row*w.row_bytes + (size_t) block*34;
        *scale = half_at(p);
        return _mm256_xor_si256(_mm256_loadu_si256((const __m256i *) (p + 2)), _mm256_set1_epi8((char) 128));
    }
    __m128i q;
    if (kind == LQ_Q4_0 || kind == LQ_IQ4_NL) {
        p += (size_t) row*w.row_bytes + (size_t) block*18;
        *scale = half_at(p);
        q = _mm_loadu_si128((const __m128i *) (p + 2));
    } else { // eight rows together: their scales, then eight bytes of each row, then the other eight
        p += (size_t) (row/8*8)*w.row_bytes + (size_t) block*8*18;
        *scale = half_at(p + row % 8*2);
        p += 16 + row % 8*8;
        q = _mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i *) p), _mm_loadl_epi64((const __m128i *) (p + 64)));
    }
    if (kind == LQ_Q4_0_X8) {
        q = _mm_xor_si128(q, _mm_set1_epi8((char) 0x88));
    }
    return kind == LQ_IQ4_NL || kind == LQ_IQ4_NL_X8 ? look_up(iq4_book, nibbles(q)) : nibbles(q);
}

// Two blocks of depth at a time: 16 words of each of 16 columns, turned into 16 columns of each word.
template <int kind> void pack_rows(const Weight & w, int row, int n, int col, int depth, BytePanel * out) {
    for (int b = 0; b < depth/BYTE_DEPTH; b += 2) {
        const bool two = b + 1 < depth/BYTE_DEPTH;
        for (int half = 0; half < BYTE_COLS; half += 16) {
            __m512i r[16];
            for (int i = 0; i < 16; i++) {
                float first = 0, second = 0;
                r[i] = _mm512_setzero_si512();
                if (half + i < n) {
                    const __m256i low = row_bytes<kind>(w, row + half + i, col/BYTE_DEPTH + b, &first);
                    const __m256i high = two ? row_bytes<kind>(w, row + half + i, col/BYTE_DEPTH + b + 1, &second) : _mm256_setzero_si256();
                    r[i] = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
                }
                out[b].d[half + i] = first;
                if (two) {
                    out[b + 1].d[half + i] = second;
                }
            }
            transpose(r);
            for (int k = 0; k < (two ? 16 : 8); k++) {
                _mm512_storeu_si512(&out[b + k/8].u[k % 8][half], r[k]);
            }
        }
    }
}

// The scales of block `block` of a strip's rows.
__m512 nf4_scales(const Weight & w, int strip, int block) {
    const uint8_t * at = w.nf4->data + strip*w.nf4->strip_bytes + lk_nf4_scales_at(w.nf4->kind, block);
    if (w.nf4->kind == LK_NF4_DQ) {
        const __m512 eight = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *) at)));
        return _mm512_mul_ps(eight, _mm512_set1_ps(w.nf4->tile_scales[(size_t) strip*w.nf4->tiles + block/LK_NF4_TILE]));
    }
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) at));
}

// A strip of NF4 has sixteen rows side by side already. The low nibbles of a word are columns 0 4 1 5 of eight,
// the high ones 2 6 3 7.
void pack_nf4(const Weight & w, int row, int n, int col, int depth, BytePanel * out) {
    const __m512i book = _mm512_broadcast_i32x4(_mm_add_epi8(_mm_loadu_si128((const __m128i *) lk_nf4_codebook8), _mm_set1_epi8((char) 128)));
    const __m512i nibble = _mm512_set1_epi8(15);
    // Bytes of both halves of the eight columns: 0x80 leaves a zero.
    const __m512i low_first = _mm512_set1_epi32((int) 0x80800200), high_first = _mm512_set1_epi32(0x02008080);
    const __m512i low_last = _mm512_set1_epi32((int) 0x80800301), high_last = _mm512_set1_epi32(0x03018080);
    const __m512i lane = _mm512_broadcast_i32x4(_mm_set_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0));
    const auto pick = [&](__m512i v, __m512i order) { return _mm512_shuffle_epi8(v, _mm512_or_si512(order, lane)); };
    for (int half = 0; half < BYTE_COLS; half += LK_NF4_STRIP) {
        const uint8_t * strip = w.nf4->data + (row + half)/LK_NF4_STRIP*w.nf4->strip_bytes;
        for (int b = 0; b < depth/BYTE_DEPTH; b++) {
            if (half >= n) {
                memset(out[b].d + half, 0, LK_NF4_STRIP*sizeof(float));
                for (int k = 0; k < 8; k++) {
                    _mm512_storeu_si512(&out[b].u[k][half], _mm512_setzero_si512());
                }
                continue;
            }
            const int block = col/BYTE_DEPTH + b;
            const uint8_t * codes = strip + lk_nf4_codes_at(w.nf4->kind, block);
            _mm512_storeu_ps(out[b].d + half, _mm512_mul_ps(nf4_scales(w, (row + half)/LK_NF4_STRIP, block), _mm512_set1_ps(1.0f/127)));
            for (int g = 0; g < LK_NF4_GROUPS; g++) {
                const __m512i words = _mm512_loadu_si512(codes + 64*g);
                const __m512i low = _mm512_shuffle_epi8(book, _mm512_and_si512(words, nibble));
                const __m512i high = _mm512_shuffle_epi8(book, _mm512_and_si512(_mm512_srli_epi16(words, 4), nibble));
                _mm512_storeu_si512(&out[b].u[2*g][half], _mm512_or_si512(pick(low, low_first), pick(high, high_first)));
                _mm512_storeu_si512(&out[b].u[2*g + 1][half], _mm512_or_si512(pick(low, low_last), pick(high, high_last)));
            }
        }
    }
}

// A strip of Q8_0 is a panel's half as it is.
void pack_strips(const Weight & w, int row, int n, int col, int depth, BytePanel * out) {
    for (int half = 0; half < BYTE_COLS; half += LK_INT_STRIP) {
        const uint8_t * strip = w.integer->data + (row + half)/LK_INT_STRIP*w.integer->strip_bytes;
        for (int b = 0; b < depth/BYTE_DEPTH; b++) {
            const int block = col/BYTE_DEPTH + b;
            const bool some = half < n;
            _mm512_storeu_ps(out[b].d + half, some ? _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) (strip + lk_q8_scales_at(block)))) : _mm512_setzero_ps());
            for (int k = 0; k < 8; k++) {
                _mm512_storeu_si512(&out[b].u[k][half], some ? _mm512_loadu_si512(strip + lk_q8_codes_at(block) + 64*k) : _mm512_setzero_si512());
            }
        }
    }
}

void pack_b(const Weight & w, int row, int n, int col, int depth, BytePanel * out) {
    switch (w.kind) {
    case LQ_Q4_0: pack_rows<LQ_Q4_0>(w, row, n, col, depth, out); break;
    case LQ_Q4_0_X8: pack_rows<LQ_Q4_0_X8>(w, row, n, col, depth, out); break;
    case LQ_Q8_0: pack_rows<LQ_Q8_0>(w, row, n, col, depth, out); break;
    case LQ_IQ4_NL: pack_rows<LQ_IQ4_NL>(w, row, n, col, depth, out); break;
    case LQ_IQ4_NL_X8: pack_rows<LQ_IQ4_NL_X8>(w, row, n, col, depth, out); break;
    case LQ_NF4: pack_nf4(w, row, n, col, depth, out); break;
    case LQ_Q8_0_STRIPS: pack_strips(w, row, n, col, depth, out); break;
    }
}

// ---- the tile --------------------------------------------------------------------------------------
void run(int blocks, const ByteBlock * a, const BytePanel * b, int zero, bool accumulate, int m, int n, float * c, ptrdiff_t ldc) {
    __m512 acc[BYTE_ROWS][2];
#pragma GCC unroll 6
    for (int i = 0; i < BYTE_ROWS; i++) {
        acc[i][0] = acc[i][1] = _mm512_setzero_ps();
    }
    for (; blocks > 0; blocks--, a++, b++) {
        __m512i u[16];
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) {
            u[2*k] = _mm512_load_si512(b->u[k]);
            u[2*k + 1] = _mm512_load_si512(b->u[k] + 16);
        }
#pragma GCC unroll 6
        for (int i = 0; i < BYTE_ROWS; i++) {
            __m512i s0 = _mm512_set1_epi32(-zero*a->sum[i]), s1 = s0;
            const int32_t * words = (const int32_t *) a->q[i];
#pragma GCC unroll 8
            for (int k = 0; k < 8; k++) {
                const __m512i q = _mm512_set1_epi32(words[k]);
                s0 = _mm512_dpbusd_epi32(s0, u[2*k], q);
                s1 = _mm512_dpbusd_epi32(s1, u[2*k + 1], q);
            }
            const __m512 d = _mm512_set1_ps(a->d[i]);
            acc[i][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(s0), _mm512_mul_ps(d, _mm512_load_ps(b->d)), acc[i][0]);
            acc[i][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(s1), _mm512_mul_ps(d, _mm512_load_ps(b->d + 16)), acc[i][1]);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < BYTE_ROWS; i++) {
        if (i >= m) {
            break;
        }
        for (int v = 0; v < 2; v++) {
            const int left = n - 16*v;
            const __mmask16 some = left >= 16 ? 0xffff : left > 0 ? (__mmask16) ((1u << left) - 1) : 0;
            float * p = c + i*ldc + 16*v;
            const __m512 old = accumulate ? _mm512_maskz_loadu_ps(some, p) : _mm512_setzero_ps();
            _mm512_mask_storeu_ps(p, some, _mm512_add_ps(acc[i][v], old));
        }
    }
}

} // namespace

const ByteTile byte_tile_avx512 = {pack_a, pack_b, run};

} // namespace lq
#endif
