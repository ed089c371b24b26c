// The C side of c_api.h: no exception passes it.
#include "graph_trainer.h"
#include "guarded.h"
#include "trainer.h"

using lq::guarded;

namespace {

template <typename F> int guarded(lq_trainer * t, const F & f) { return guarded(t->error, sizeof t->error, f); }

} // namespace

lq_workspace * lq_workspace_new(lq_graphs * g) { return new (std::nothrow) lq_workspace(g ? g->backend.get() : nullptr); }
void lq_workspace_free(lq_workspace * w) { delete w; }
int lq_workspace_trim(lq_workspace * w, int64_t most) { return w->trim((size_t) most); }

int lq_memory(const lq_model * model, const lq_options * options, lq_bytes * bytes, char * error, size_t error_size) {
    return guarded(error, error_size, [&] {
        lq::check_model(*model);
        lq::check_options(*model, *options);
        *bytes = {(int64_t) lq::array_bytes(*model, *options), (int64_t) lq::workspace_bytes(*model, *options, options->keep)};
        return LQ_OK;
    });
}

int lq_new(const lq_model * model, lq_workspace * w, const lq_options * options, lq_trainer ** out, char * error, size_t error_size) {
    *out = nullptr;
    return guarded(error, error_size, [&] {
        lq::check_model(*model);
        lq::check_options(*model, *options);
        auto made = std::make_unique<lq_trainer>();
        made->of = std::make_unique<lq::Trainer>(*model, *w, *options);
        *out = made.release();
        return LQ_OK;
    });
}

int lq_graphs_memory(lq_graphs * g, const lq_options * options, lq_bytes * bytes, char * error, size_t error_size) {
    return guarded(error, error_size, [&] {
        lq::check_options(g->model, *options);
        lq::check_graph_options(*g, *options);
        lq_options one = *options;
        one.threads = 1; // which nothing runs on
        lq_workspace none(g->backend.get());
        *bytes = lq::GraphTrainer(*g, none, one, true).bytes();
        return LQ_OK;
    });
}

int lq_graphs_new(lq_graphs * g, lq_workspace * w, const lq_options * options, lq_trainer ** out, char * error, size_t error_size) {
    *out = nullptr;
    return guarded(error, error_size, [&] {
        lq::check_options(g->model, *options);
        lq::check_graph_options(*g, *options);
        auto made = std::make_unique<lq_trainer>();
        made->of = std::make_unique<lq::GraphTrainer>(*g, *w, *options, false);
        *out = made.release();
        return LQ_OK;
    });
}

void lq_free(lq_trainer * t) { delete t; }

const char * lq_error(const lq_trainer * t) { return t->error; }

int lq_started(const lq_trainer * t) { return t->of->has_started(); }
int lq_needs_workspace(const lq_trainer * t) { return t->of->needs_workspace(); }

int lq_take_workspace(lq_trainer * t, int64_t most) {
    return guarded(t, [&] { return t->of->take((size_t) most) ? LQ_OK : LQ_MORE; });
}

void lq_give_back(lq_trainer * t) { t->of->give_back(); }

int lq_begin(lq_trainer * t, int mode, const lq_batch * batch) {
    return guarded(t, [&] {
        t->of->begin(mode, *batch);
        return LQ_OK;
    });
}

int lq_begin_update(lq_trainer * t, const lq_update * u) {
    return guarded(t, [&] {
        t->of->begin_update(*u);
        return LQ_OK;
    });
}

int lq_slice(lq_trainer * t) {
    return guarded(t, [&] { return t->of->slice() ? LQ_OK : LQ_MORE; });
}

int lq_slices(lq_trainer * t, double seconds, double * longest) {
    return guarded(t, [&] { return t->of->slices(seconds, longest) ? LQ_OK : LQ_MORE; });
}

void lq_get_result(const lq_trainer * t, lq_result * r) { *r = t->of->result; }

int lq_get_offsets(const lq_trainer * t, int i, lq_parameter_offsets * p) {
    if (i < 0 || (size_t) i >= t->of->adapters().size()) {
        return LQ_INVALID;
    }
    const lq::Lora & l = t->of->adapters()[i];
    *p = {l.n_in, l.n_out, l.rank, l.at_a, l.at_b, l.at_m};
    return LQ_OK;
}

void lq_reseed(lq_trainer * t, uint64_t seed) { t->of->reseed(seed); }
void lq_reset_optimizer(lq_trainer * t) { t->of->reset_optimizer(); }

int lq_get_norm(const lq_trainer * t, int i, size_t * at, int * n) {
    if (i < 0 || (size_t) i >= t->of->norms().size()) {
        return LQ_INVALID;
    }
    *at = t->of->norms()[i].at;
    *n = t->of->norms()[i].n;
    return LQ_OK;
}

float * lq_parameters(lq_trainer * t) { return t->of->memory().parameters; }
void lq_parameters_changed(lq_trainer * t) { t->of->start_here(); }
size_t lq_parameter_count(const lq_trainer * t) { return t->of->parameter_count(); }

size_t lq_state_bytes(const lq_trainer * t) { return t->of->state_bytes(); }
void lq_read_state(const lq_trainer * t, size_t offset, void * to, size_t n) { t->of->read_state(offset, to, n); }

int lq_write_state(lq_trainer * t, size_t offset, const void * from, size_t n, size_t total) {
    return guarded(t, [&] {
        t->of->write_state(offset, from, n, total);
        return LQ_OK;
    });
}
