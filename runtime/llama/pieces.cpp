// The bytes of all tokens at once: whoever turns tokens into text then needs no more calls.
#include "model.h"
#include <algorithm>

using namespace lorikeet;

int64_t wall_pieces(const wall_model * w, char * out, size_t capacity, uint32_t * ends, uint8_t * hidden, wall_error * err) {
    const Model & m = *w->model;
    return guarded(err, (int64_t) -1, [&] {
        size_t at = 0;
        for (llama_token t = 0; m.has_vocab() && t < m.n_vocab(); t++) {
            const int32_t room = (int32_t) std::min<size_t>(capacity - std::min(at, capacity), INT32_MAX);
            const int32_t n = llama_token_to_piece(m.vocab(), t, out + std::min(at, capacity), room, 0, true);
            at += (size_t) (n < 0 ? -(int64_t) n : n); // llama.cpp says "that many are needed" with a minus
            if (at > UINT32_MAX) {
                throw std::runtime_error("the texts of the tokens have more than 4 GiB");
            }
            ends[t] = (uint32_t) at;
            hidden[t] = n != 0 && llama_token_to_piece(m.vocab(), t, nullptr, 0, 0, false) == 0;
        }
        return (int64_t) at;
    });
}
