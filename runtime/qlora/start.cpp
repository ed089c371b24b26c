// How an adapter begins: the first values of A and B, and DoRA's magnitudes, in slices.
#include "decompose.h"
#include "random.h"
#include <algorithm>
#include <math.h>
#include <numeric>
#include <string.h>

namespace lq {

namespace {
constexpr size_t PIECE = 8192; // values that one thread takes at a time
constexpr double DRAWING = 40, CLEARING = 8; // what a value costs beside operations of products

int pieces_of(size_t n) { return (int) ((n + PIECE - 1)/PIECE); }
} // namespace

// x = 0, of n values
void AdapterTrainer::schedule_zero(float * x, size_t n) {
    schedule.ranges(pieces_of(n), [](int) { return CLEARING*PIECE; }, [=](int begin, int end) {
        compute.pool->ranges(end - begin, [&](int first, int last, int) {
            const size_t from = (begin + first)*PIECE;
            memset(x + from, 0, (std::min(n, (begin + last)*PIECE) - from)*sizeof(float));
        });
    });
}

// PEFT's "orthogonal": with the odd and the even rows of a random orthogonal matrix, A = Q_odd^T G / 10 and B = H Q_even / 10, where G
// and H are normal. Then B A is zero though neither of them is.
void AdapterTrainer::schedule_orthogonal(const Lora & l) {
    const int r = l.rank, half = r/2;
    auto q = std::make_shared<std::vector<double>>((size_t) r*r);
    for (int i = 0; i < r; i++) {
        schedule.add([=, &l] { // row i, orthogonal to those before it: classical Gram-Schmidt, twice
            double * row = q->data() + (size_t) i*r;
            const uint64_t key = random_key(l.key, 0x4f525448 + i);
            for (int c = 0; c < r; c++) {
                row[c] = random_normal(key, c);
            }
            for (int j = 0; j < 2*i; j++) {
                const double * before = q->data() + (size_t) (j % i)*r;
                const double along = std::inner_product(row, row + r, before, 0.0);
                for (int c = 0; c < r; c++) {
                    row[c] -= along*before[c];
                }
            }
            const double norm = sqrt(std::inner_product(row, row + r, row, 0.0));
            for (int c = 0; c < r; c++) {
                row[c] /= norm;
            }
        });
    }
    const auto mix = [=, &l](float * to, int n, int first, uint64_t salt) { // to (rank, n)
        schedule.ranges((n + 63)/64, [=](int) { return 64*(40.0*half + 4.0*r*half); }, [=, &l](int begin, int end) {
            compute.pool->run(end - begin, [&](int piece, int) {
                std::vector<double> normal(half);
                for (int j = 64*(begin + piece); j < std::min(n, 64*(begin + piece + 1)); j++) {
                    for (int h = 0; h < half; h++) {
                        normal[h] = 0.1*random_normal(random_key(l.key, salt + h), j);
                    }
                    for (int i = 0; i < r; i++) {
                        double sum = 0;
                        for (int h = 0; h < half; h++) {
                            sum += (*q)[(size_t) (2*h + first)*r + i]*normal[h];
                        }
                        to[(size_t) i*n + j] = (float) sum;
                    }
                }
            });
        });
    };
    mix(l.a, l.n_in, 0, 1 << 20);
    mix(l.b, l.n_out, 1, 2 << 20);
}

void AdapterTrainer::schedule_start() {
    bool dora = false;
    for (size_t i = 0; i < loras.size(); i++) {
        const Lora & l = loras[i];
        dora = dora || l.dora;
        const lq_module & m = modules[i];
        if (m.init == LQ_INIT_ORTHOGONAL) {
            schedule_orthogonal(l);
        }
        if (m.init == LQ_INIT_ORTHOGONAL || decomposed(m)) {
            continue;
        }
        const size_t n = (size_t) l.rank*(l.n_in + l.n_out);
        schedule.ranges(pieces_of(n), [](int) { return DRAWING*PIECE; }, [=, &l, &m](int begin, int end) {
            compute.pool->run(end - begin, [&](int j, int) { draw(l, m, (begin + j)*PIECE, std::min(n, (begin + j + 1)*PIECE)); });
        });
    }
    schedule_decompositions();
    schedule.add([this] {
        for (const OwnNorm & o : own_norms) {
            read_norm(o, o.w);
        }
        parameters_changed();
    });
    if (dora) { // the magnitudes of a new adapter are the norms themselves: with B zero the gains are 1, to the bit
        schedule_norms();
        for (const Lora & l : loras) {
            if (l.dora) {
                schedule.add([&l] { std::copy(l.row_norms, l.row_norms + l.n_out, l.m); });
            }
        }
    }
    schedule.add([this] { started = true; });
}

} // namespace lq
