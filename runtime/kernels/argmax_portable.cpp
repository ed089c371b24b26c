// The largest number in plain C++: what runs where there is no faster path, and what the faster paths are read against.
#include "internal.h"

// The best of 64 floats whose bits are set, against the best so far.
static int best_of_word(const float * x, uint64_t bits, int from, int best) {
    for (; bits != 0; bits &= bits - 1) {
        const int i = from + __builtin_ctzll(bits);
        if (best < 0 ? x[i] > -INFINITY : x[i] > x[best]) {
            best = i;
        }
    }
    return best;
}

static int argmax(const float * x, const uint64_t * mask, int n) {
    int best = -1;
    for (int from = 0; from < n; from += 64) {
        uint64_t bits = mask ? mask[from/64] : ~(uint64_t) 0;
        if (n - from < 64) {
            bits &= ((uint64_t) 1 << (n - from)) - 1;
        }
        best = best_of_word(x, bits, from, best);
    }
    return best;
}

const lk_argmax_of lk_argmax_portable = argmax;
