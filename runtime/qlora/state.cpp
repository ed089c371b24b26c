// A trainer's state as bytes, so that a run can be stopped between two steps and continue bit for bit.
#include "adapter_trainer.h"
#include "random.h"
#include <algorithm>
#include <string.h>
#include <utility>

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
    memcpy(&bits, &o.noise, sizeof bits);
    h = bits ? random_key(h, (uint64_t) bits << 8) : h;
    for (int i = 0; i < o.n_modules; i++) {
        const lq_module & x = o.modules[i];
        memcpy(&bits, &x.scale, sizeof bits);
        h = random_key(random_key(random_key(random_key(h, x.layer), x.target), x.rank), bits);
        h = x.dora ? random_key(h, 1) : h;
        h = x.init ? random_key(h, (uint64_t) x.init << 32 | (uint32_t) x.init_iterations) : h;
    }
    for (int i = 0; i < o.n_norms; i++) {
        h = random_key(random_key(h, 0x4e4f524d + o.norms[i].norm), o.norms[i].layer);
    }
    return h;
}

// each_part calls f(at, part, bytes) for what of the state's bytes [offset, offset + n) lies in each of its parts, which are
// the header and the three arrays: at is where in the piece it lies, part where in memory.
template<class F> void each_part(const AdapterTrainer & t, const Header & header, size_t offset, size_t n, F f) {
    const size_t array = t.parameter_count()*sizeof(float);
    const Arrays & w = t.memory();
    const std::pair<const void *, size_t> parts[] = {
        {&header, sizeof header}, {w.parameters, array}, {w.moment1, array}, {w.moment2, array}};
    size_t begin = 0; // of the part
    for (const auto & [from, bytes] : parts) {
        const size_t first = std::max(offset, begin), last = std::min(offset + n, begin + bytes);
        if (first < last) {
            f(first - offset, (char *) from + (first - begin), last - first);
        }
        begin += bytes;
    }
}

} // namespace

size_t AdapterTrainer::state_bytes() const { return sizeof(Header) + 3*parameters*sizeof(float); }

void AdapterTrainer::read_state(size_t offset, void * to, size_t n) const {
    Header h = {{}, shape_of(model, options), parameters, steps};
    memcpy(h.magic, magic, sizeof magic);
    each_part(*this, h, offset, n, [&](size_t at, const char * part, size_t bytes) { memcpy((char *) to + at, part, bytes); });
}

void AdapterTrainer::write_state(size_t offset, const void * from, size_t n, size_t total) {
    Header h = {};
    if (offset == 0) {
        if (n < sizeof h) {
            throw Error{LQ_INVALID, "the state is cut short"};
        }
        memcpy(&h, from, sizeof h);
        if (memcmp(h.magic, magic, sizeof magic) != 0) {
            throw Error{LQ_INVALID, "this is not a trainer's state"};
        }
        if (h.shape != shape_of(model, options) || h.parameters != parameters) {
            throw Error{LQ_INVALID, "the state belongs to a job with another model, seed, dropout or other modules"};
        }
        if (total != state_bytes()) {
            throw Error{LQ_INVALID, "the state is cut short"};
        }
        steps = h.steps;
        result = {};
        result.steps = steps;
        give_back();
        schedule.clear();
        waiting = false;
        started = true;
    }
    each_part(*this, h, offset, n, [&](size_t at, char * part, size_t bytes) { memcpy(part, (const char *) from + at, bytes); });
    parameters_changed();
}

void AdapterTrainer::reseed(uint64_t seed) {
    options.seed = seed;
    for (size_t i = 0; i < loras.size(); i++) {
        loras[i].key = key_of(seed, modules[i]);
    }
}

void AdapterTrainer::reset_optimizer() {
    give_back();
    schedule.clear();
    waiting = false;
    memset(arrays.moment1, 0, parameters*sizeof(float));
    memset(arrays.moment2, 0, parameters*sizeof(float));
    steps = 0;
    result = {};
}

} // namespace lq
