// The AMX tile, 32 x 32: four tile registers hold C, two a step of A and two a step of B, 32 deep in bfloat16. A
// tdpbf16ps multiplies 16 x 32 by 32 x 16. Source of the layouts: Intel 64 SDM, "TDPBF16PS".
#if defined(__x86_64__)
#pragma GCC target("arch=x86-64-v4,avx512bf16,amx-tile,amx-bf16")
#include "pack_avx512.inc.h"
#include "tiles.h"

namespace lq {
namespace {

enum { MR = 32, STEP = 16, HALF = 16 };
static_assert(NR == 2*HALF && MR == 2*HALF, "C is two by two registers");

// Row i of block step s is the 16 units from s*STEP on.
inline Unit * row_at(Unit * out, int s, int i) { return out + (size_t) (s*MR + i)*STEP; }

void pack_a_by_row(const float * x, ptrdiff_t ld, int m, int depth, float scale, Unit * out) {
    const __m512 s = _mm512_set1_ps(scale);
    for (int at = 0; at*2*STEP < depth; at++) {
        for (int i = 0; i < MR; i++) {
            const __m512i v = i < m ? load_units<true>(x + i*ld + at*2*STEP, depth - at*2*STEP, s) : _mm512_setzero_si512();
            _mm512_storeu_si512(row_at(out, at, i), v);
        }
    }
}

void pack_a_by_depth(const float * x, ptrdiff_t ld, int m, int depth, float scale, Unit * out) {
    const __m512 s = _mm512_set1_ps(scale);
    for (int at = 0; at*2*STEP < depth; at++) {
        __m512i low[STEP], high[STEP]; // unit u of rows 0..15, and of rows 16..31
        for (int u = 0; u < STEP; u++) {
            const int k = 2*(at*STEP + u);
            const __m512i a = k < depth ? load_units<true>(x + k*ld, m, s) : _mm512_setzero_si512();
            const __m512i b = k + 1 < depth ? load_units<true>(x + (k + 1)*ld, m, s) : _mm512_setzero_si512();
            interleave(a, b, &low[u], &high[u]);
        }
        transpose(low);
        transpose(high);
        for (int i = 0; i < HALF; i++) {
            _mm512_storeu_si512(row_at(out, at, i), low[i]);
            _mm512_storeu_si512(row_at(out, at, HALF + i), high[i]);
        }
    }
}

// Eight registers of 16 rows of 64 bytes. Loading it also makes them zero.
struct alignas(64) Configuration {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
const Configuration configuration;

// Registers 0..3 += a b. Where there are at most 16 rows (not tall) or columns (not wide), half the work is left out.
template <bool tall, bool wide> inline void sum(int units, const Unit * a, const Unit * b) {
    for (; units > 0; units -= STEP, a += MR*STEP, b += STEP*NR) {
        _tile_loadd(6, b, NR*sizeof(Unit));
        _tile_loadd(4, a, STEP*sizeof(Unit));
        _tile_dpbf16ps(0, 4, 6);
        if (wide) {
            _tile_loadd(7, b + HALF, NR*sizeof(Unit));
            _tile_dpbf16ps(1, 4, 7);
        }
        if (tall) {
            _tile_loadd(5, a + HALF*STEP, STEP*sizeof(Unit));
            _tile_dpbf16ps(2, 5, 6);
        }
        if (tall && wide) {
            _tile_dpbf16ps(3, 5, 7);
        }
    }
}

void load_c(const float * c, ptrdiff_t ldc) {
    const ptrdiff_t stride = ldc*(ptrdiff_t) sizeof(float);
    _tile_loadd(0, c, stride);
    _tile_loadd(1, c + HALF, stride);
    _tile_loadd(2, c + HALF*ldc, stride);
    _tile_loadd(3, c + HALF*ldc + HALF, stride);
}

void store_c(float * c, ptrdiff_t ldc) {
    const ptrdiff_t stride = ldc*(ptrdiff_t) sizeof(float);
    _tile_stored(0, c, stride);
    _tile_stored(1, c + HALF, stride);
    _tile_stored(2, c + HALF*ldc, stride);
    _tile_stored(3, c + HALF*ldc + HALF, stride);
}

// c (m, n) (+)= alpha * part, part (32, 32).
void add_part(const float * part, float alpha, bool accumulate, int m, int n, float * c, ptrdiff_t ldc) {
    const __m512 al = _mm512_set1_ps(alpha);
    for (int i = 0; i < m; i++, part += NR, c += ldc) {
        for (int j = 0; j < n; j += 16) {
            const __m512 old = accumulate ? _mm512_maskz_loadu_ps(first(n - j), c + j) : _mm512_setzero_ps();
            _mm512_mask_storeu_ps(c + j, first(n - j), _mm512_fmadd_ps(_mm512_load_ps(part + j), al, old));
        }
    }
}

void run(int units1, const Unit * a1, const Unit * b1, int units2, const Unit * a2, const Unit * b2, float alpha, bool accumulate, int m,
    int n, float * c, ptrdiff_t ldc) {
    _tile_loadconfig(&configuration);
    const bool direct = alpha == 1 && m == MR && n == NR;
    if (direct && accumulate) {
        load_c(c, ldc);
    }
    const bool tall = m > HALF, wide = n > HALF;
    const auto add = tall && wide ? sum<true, true> : tall ? sum<true, false> : wide ? sum<false, true> : sum<false, false>;
    add(units1, a1, b1);
    add(units2, a2, b2);
    if (direct) {
        store_c(c, ldc);
    } else {
        alignas(64) float part[MR*NR];
        store_c(part, NR);
        add_part(part, alpha, accumulate, m, n, c, ldc);
    }
    _tile_release();
}

} // namespace

const Tile tile_amx = {MR, NR, true, STEP, pack_a_by_row, pack_a_by_depth, pack_b_by_column<true, STEP>, pack_b_by_depth<true, STEP>, run};

} // namespace lq
#endif
