// A trainer's state as bytes, so that a run can be stopped between two steps and go on bit for bit.
#include "random.h"
#include "trainer.h"
#include <string.h>

namespace lq {

namespace {

struct Header {
    char magic[8];
    uint64_t shape; // of the options and the model
    uint64_t parameters;
    int64_t steps;
};

const char magic[8] = {'l', 'q', 's', 't', 'a', 't', 'e', '1'};

uint64_t shape_of(const lq_model & m, const lq_options & o) {
    uint64_t h = random_key(o.seed, (uint64_t) m.n_layers);
    for (uint64_t x : {m.n_embd, m.n_heads, m.n_kv_heads, m.head_size, m.n_ff, m.n_vocab}) {
        h = random_key(h, x);
    }
    uint32_t bits;
    memcpy(&bits, &o.dropout, sizeof bits);
    h = random_key(h, bits);
    for (int i = 0; i < o.n_modules; i++) {
        const lq_module & x = o.modules[i];
        memcpy(&bits, &x.scale, sizeof bits);
        h = random_key(random_key(random_key(random_key(h, x.layer), x.target), x.rank), bits);
        h = x.dora ? random_key(h, 1) : h;
    }
    return h;
}

} // namespace

size_t Trainer::state_bytes() const { return sizeof(Header) + 3*parameters*sizeof(float); }

void Trainer::save_state(void * to) const {
    Header h = {{}, shape_of(model, options), parameters, steps};
    memcpy(h.magic, magic, sizeof magic);
    memcpy(to, &h, sizeof h);
    char * p = (char *) to + sizeof h;
    const size_t bytes = parameters*sizeof(float);
    for (const float * from : {w.parameters, w.moment1, w.moment2}) {
        memcpy(p, from, bytes);
        p += bytes;
    }
}

void Trainer::load_state(const void * from, size_t n) {
    Header h;
    if (n < sizeof h) {
        throw Fault{LQ_BAD, "the state is cut short"};
    }
    memcpy(&h, from, sizeof h);
    if (memcmp(h.magic, magic, sizeof magic) != 0) {
        throw Fault{LQ_BAD, "this is not a trainer's state"};
    }
    if (h.shape != shape_of(model, options) || h.parameters != parameters) {
        throw Fault{LQ_BAD, "the state belongs to a job with another model, seed, dropout or other modules"};
    }
    if (n != state_bytes()) {
        throw Fault{LQ_BAD, "the state is cut short"};
    }
    const char * p = (const char *) from + sizeof h;
    const size_t bytes = parameters*sizeof(float);
    for (float * to : {w.parameters, w.moment1, w.moment2}) {
        memcpy(to, p, bytes);
        p += bytes;
    }
    steps = h.steps;
    result = {};
    result.steps = steps;
    plan.clear();
}

} // namespace lq
