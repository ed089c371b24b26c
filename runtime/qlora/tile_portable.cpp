// The portable tile, 4 x 16, in GCC's vector types: what runs where there is no faster one.
#if defined(__x86_64__)
#pragma GCC target("arch=x86-64") // whatever the rest is compiled for
#endif
#define LQ_VECTORS 0
#include "tiles.h"
#include "vec.h"

namespace lq {
namespace {
enum { MR = 4, NR = 16 };
}
} // namespace lq
#include "pack.inc.h"

namespace lq {
namespace {

void run(int units1, const Unit * a1, const Unit * b1, int units2, const Unit * a2, const Unit * b2, float alpha, bool accumulate, int m,
    int n, float * c, ptrdiff_t ldc) {
    vec acc[MR] = {};
    for (int part = 0; part < 2; part++) {
        const float * a = (const float *) (part ? a2 : a1), * b = (const float *) (part ? b2 : b1);
        for (int k = part ? units2 : units1; k > 0; k--, a += MR, b += NR) {
            const vec bv = load(b);
            for (int i = 0; i < MR; i++) {
                acc[i] += a[i]*bv;
            }
        }
    }
    for (int i = 0; i < m; i++, c += ldc) {
        store_part(c, acc[i]*alpha + (accumulate ? load_part(c, n) : vec{}), n);
    }
}

} // namespace

const Tile tile_portable = {MR, NR, false, 1, pack_a_by_row, pack_a_by_depth, pack_b_by_column, pack_b_by_depth, run};

} // namespace lq
