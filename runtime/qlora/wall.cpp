// The C side of wall.h: no exception passes it.
#include "trainer.h"
#include <new>
#include <stdio.h>
#include <string.h>

struct lq_trainer : lq::Trainer {
    using lq::Trainer::Trainer;
};

namespace {

// Runs f and turns what it throws into a status and a sentence.
template <typename F> int guarded(std::string * error, const F & f) {
    try {
        return f();
    } catch (const lq::Fault & e) {
        *error = e.message;
        return e.status;
    } catch (const std::bad_alloc &) {
        *error = "not enough memory";
        return LQ_MEMORY;
    } catch (const std::exception & e) {
        *error = e.what();
        return LQ_FAILED;
    }
}

void report(const std::string & error, char * to, size_t size) {
    if (to && size) {
        snprintf(to, size, "%s", error.c_str());
    }
}

} // namespace

int64_t lq_memory(const lq_model * model, const lq_options * options, char * error, size_t error_size) {
    std::string message;
    size_t bytes = 0;
    const int status = guarded(&message, [&] {
        lq::check_model(*model);
        lq::check_options(*model, *options);
        lq::Arena count(nullptr);
        lq::Workspace w;
        carve(count, *model, *options, w);
        bytes = count.bytes();
        return LQ_OK;
    });
    report(message, error, error_size);
    return status == LQ_OK ? (int64_t) bytes : status;
}

lq_trainer * lq_new(const lq_model * model, const lq_options * options, char * error, size_t error_size) {
    std::string message;
    lq_trainer * t = nullptr;
    guarded(&message, [&] {
        lq::check_model(*model);
        lq::check_options(*model, *options);
        t = new lq_trainer(*model, *options);
        return LQ_OK;
    });
    report(message, error, error_size);
    return t;
}

void lq_free(lq_trainer * t) { delete t; }

const char * lq_error(const lq_trainer * t) { return t->error.c_str(); }

int lq_begin(lq_trainer * t, int mode, const int32_t * tokens, const int32_t * labels, int n, const int32_t * ends, int n_ends, double norm) {
    return guarded(&t->error, [&] {
        t->begin(mode, tokens, labels, n, ends, n_ends, norm);
        return LQ_OK;
    });
}

int lq_begin_update(lq_trainer * t, const lq_update * u) {
    return guarded(&t->error, [&] {
        t->begin_update(*u);
        return LQ_OK;
    });
}

int lq_slice(lq_trainer * t) {
    return guarded(&t->error, [&] { return t->slice() ? LQ_OK : LQ_MORE; });
}

void lq_get_result(const lq_trainer * t, lq_result * r) { *r = t->result; }

int lq_get_place(const lq_trainer * t, int i, lq_place * p) {
    if (i < 0 || (size_t) i >= t->adapters().size()) {
        return LQ_BAD;
    }
    const lq::Lora & l = t->adapters()[i];
    *p = {l.n_in, l.n_out, l.rank, l.at_a, l.at_b, l.at_m, l.lengths};
    return LQ_OK;
}

float * lq_parameters(lq_trainer * t) { return t->workspace().parameters; }
const float * lq_gradients(const lq_trainer * t) { return t->workspace().gradients; }
size_t lq_parameter_count(const lq_trainer * t) { return t->parameter_count(); }

size_t lq_state_bytes(const lq_trainer * t) { return t->state_bytes(); }
void lq_save_state(const lq_trainer * t, void * to) { t->save_state(to); }

int lq_load_state(lq_trainer * t, const void * from, size_t n) {
    return guarded(&t->error, [&] {
        t->load_state(from, n);
        return LQ_OK;
    });
}

int lq_logits(lq_trainer * t, const int32_t * tokens, int n, const int32_t * ends, int n_ends, float * out) {
    return guarded(&t->error, [&] {
        t->logits(tokens, n, ends, n_ends, out);
        return LQ_OK;
    });
}
