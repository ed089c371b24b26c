// How an adapter begins: the first values of A and B, and DoRA's magnitudes, in slices.
#include "adapter_trainer.h"
#include <algorithm>
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

void AdapterTrainer::schedule_start() {
    bool dora = false;
    for (size_t i = 0; i < loras.size(); i++) {
        const Lora & l = loras[i];
        const bool embedding = modules[i].target == LQ_EMBED;
        const size_t n = (size_t) l.rank*(l.n_in + l.n_out);
        dora = dora || l.dora;
        schedule.ranges(pieces_of(n), [](int) { return DRAWING*PIECE; }, [=, &l](int begin, int end) {
            compute.pool->run(end - begin, [&](int j, int) { draw(l, embedding, (begin + j)*PIECE, std::min(n, (begin + j + 1)*PIECE)); });
        });
    }
    schedule.add([this] { parameters_changed(); });
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
