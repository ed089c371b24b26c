// Packing of single-precision operands in plain C++, for the tiles whose packing is not worth its own
// intrinsics: a packed element is used once per row of the batch. MR and NR are the including tile's.
#include "tile.h"
#include <string.h>

namespace lq {
namespace {

inline Unit unit_of(float f) {
    Unit u;
    memcpy(&u, &f, sizeof u);
    return u;
}

void pack_a_by_row(const float * x, ptrdiff_t ld, int m, int depth, float scale, Unit * out) {
    for (int i = 0; i < MR; i++) {
        for (int k = 0; k < depth; k++) {
            out[(size_t) k*MR + i] = i < m ? unit_of(x[i*ld + k]*scale) : 0;
        }
    }
}

void pack_a_by_depth(const float * x, ptrdiff_t ld, int m, int depth, float scale, Unit * out) {
    for (int k = 0; k < depth; k++, out += MR) {
        for (int i = 0; i < MR; i++) {
            out[i] = i < m ? unit_of(x[k*ld + i]*scale) : 0;
        }
    }
}

void pack_b_by_column(const float * x, ptrdiff_t ld, int depth, int n, Unit * out) {
    for (int j = 0; j < NR; j++) {
        for (int k = 0; k < depth; k++) {
            out[(size_t) k*NR + j] = j < n ? unit_of(x[j*ld + k]) : 0;
        }
    }
}

void pack_b_by_depth(const float * x, ptrdiff_t ld, int depth, int n, Unit * out) {
    for (int k = 0; k < depth; k++, out += NR) {
        for (int j = 0; j < NR; j++) {
            out[j] = j < n ? unit_of(x[k*ld + j]) : 0;
        }
    }
}

} // namespace
} // namespace lq
