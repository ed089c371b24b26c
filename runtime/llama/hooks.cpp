#include "hooks.h"
#include <algorithm>

using namespace lorikeet;

namespace lorikeet {

static thread_local const Scope * scope_of_thread = nullptr;
static thread_local Builder * builder_of_thread = nullptr;

Scope::Scope(const Model & m, SequenceAdapters * p, Cells * c) : model(m), mixes(p), cells(c), outer(scope_of_thread) { scope_of_thread = this; }
Scope::~Scope() { scope_of_thread = outer; }
const Scope * Scope::current() { return scope_of_thread; }

// What a graph needs where adapters lie in slots. A reservation has no tokens.
static SlotNeeds slot_needs(const SequenceAdapters & p, const llama_ubatch & ubatch) {
    if (!p.slots) {
        return {};
    }
    if (!ubatch.token || !ubatch.seq_id) {
        return usual_needs(p);
    }
    std::vector<int> rows;
    for (uint32_t i = 0; i < ubatch.n_tokens; i++) {
        if (!ubatch.seq_id[i]) {
            return usual_needs(p);
        }
        rows.push_back(p.mix(ubatch.seq_id[i][0], ubatch.pos[i]));
    }
    return needs_of(p, rows);
}

// Whether the graph needs our nodes. A reservation (without tokens) is for the largest graph there may be.
static bool wants_adapters(const SequenceAdapters & p, const llama_ubatch & ubatch) {
    if (!ubatch.token || !ubatch.seq_id) {
        return true;
    }
    for (uint32_t i = 0; i < ubatch.n_tokens; i++) {
        if (!ubatch.seq_id[i] || p.adapted(p.mix(ubatch.seq_id[i][0], ubatch.pos[i]))) {
            return true;
        }
    }
    return false;
}

// Whether any row has norms of its own, wherever these lie. Memory is not reserved for these: their nodes take no more than those they replace.
static bool wants_norms(const SequenceAdapters & p, const llama_ubatch & ubatch) {
    for (uint32_t i = 0; ubatch.token && ubatch.seq_id && i < ubatch.n_tokens; i++) {
        if (ubatch.seq_id[i] && p.norms(p.mix(ubatch.seq_id[i][0], ubatch.pos[i]))) {
            return true;
        }
    }
    return false;
}

// ---- Rows ------------------------------------------------------------------------------------------

Rows::Rows(SequenceAdapters & mixes, const llm_graph_params & params)
    : mixes(mixes), needs(slot_needs(mixes, params.ubatch)), adapters(wants_adapters(mixes, params.ubatch)),
      norms(wants_norms(mixes, params.ubatch)) {
    all.n = params.ubatch.n_tokens;
    outputs.n = params.n_outputs;
}

bool Rows::can_reuse(const llm_graph_params & params) {
    if (params.ubatch.n_tokens != all.n || params.n_outputs != outputs.n) {
        return false;
    }
    if (!norms && wants_norms(mixes, params.ubatch)) {
        return false;
    }
    return mixes.slots ? needs.serve(slot_needs(mixes, params.ubatch)) : adapters || !wants_adapters(mixes, params.ubatch);
}

Rows::Span & Rows::span(int64_t columns) {
    if (columns == (int64_t) all.n) {
        return all;
    }
    if (columns == (int64_t) outputs.n) {
        return outputs;
    }
    throw std::runtime_error("a layer ran on " + std::to_string(columns) + " rows of a batch of " + std::to_string(all.n)
        + " with " + std::to_string(outputs.n) + " outputs");
}

Rows::Node * Rows::node(Span & s, int target) {
    nodes.push_back({this, &s, target});
    return &nodes.back();
}

Rows::Group & Rows::group(const ggml_tensor * x) {
    Group *& g = by_activations[x];
    if (!g) {
        groups.emplace_back();
        g = &groups.back();
        g->rows = this;
        g->span = &span(x->ne[1]);
        if (groups.size() > 1) {
            groups[groups.size() - 2].next = g;
        }
    }
    return *g;
}

Rows::Node * Rows::node(Group & g, int target) {
    nodes.push_back({this, g.span, target, &g, (int) g.targets.size()});
    g.targets.push_back(target);
    widest = std::max(widest, g.targets.size());
    return &nodes.back();
}

void Rows::set_input(const llama_ubatch * ubatch) {
    if (!adapters) {
        return;
    }
    all.mix.clear();
    outputs.mix.clear();
    for (uint32_t i = 0; i < ubatch->n_tokens; i++) {
        const int mix = mixes.mix(ubatch->seq_id[i][0], ubatch->pos[i]);
        all.mix.push_back(mix);
        if (outputs.n == all.n || ubatch->output[i]) {
            outputs.mix.push_back(mix);
        }
    }
    fill(all);
    fill(outputs);
    fill_replaced(outputs.n == all.n ? all : outputs); // the span that span() gives to the head
    if (mixes.slots) {
        for (Span * s : {&all, &outputs}) {
            fill_slots(*s);
            fill_shared(*s);
        }
    }
    if (!mixes.fused) {
        return;
    }
    size_t width = 0;
    for (int mix : all.mix) {
        width = std::max(width, mixes.hidden_width(mix));
    }
    // An odd number of cache lines apart, so that rows do not fall onto each other in the cache.
    hidden_stride = (width + 15)/16*16;
    hidden_stride += hidden_stride/16 % 2 == 0 ? 16 : 0;
    const size_t need = widest*hidden_stride*all.n + 16;
    if (memory.size() < need) {
        memory.resize(need);
    }
    hidden = (float *) (((uintptr_t) memory.data() + 63)/64*64);
}

void Rows::fill(Span & s) {
    if (!mixes.fused) {
        return;
    }
    const size_t targets = mixes.model->targets.size(), n = s.mix.size();
    s.rows.resize(targets*n);
    s.used.assign(targets, 0);
    for (size_t t = 0; t < targets; t++) {
        for (size_t i = 0; i < n; i++) {
            s.rows[t*n + i] = mixes.row(s.mix[i], (int) t);
            s.used[t] |= s.rows[t*n + i].n > 0;
        }
    }
}

// What the workers need to know of the head's replaced rows, so that they find it without allocating.
void Rows::fill_replaced(Span & s) {
    s.replaced.clear();
    s.needs_f16.assign(s.mix.size(), 0);
    for (size_t i = 0; mixes.model->head >= 0 && i < s.mix.size(); i++) {
        for (const Term & term : mixes.terms(s.mix[i])) {
            const auto r = term.pack->rows.find(mixes.model->head);
            if (r != term.pack->rows.end()) {
                s.replaced.push_back({&r->second, term.scale, (int) i});
                s.needs_f16[i] |= !r->second.f32;
            }
        }
    }
    std::stable_sort(s.replaced.begin(), s.replaced.end(),
        [](const ReplacedRow & a, const ReplacedRow & b) { return std::less<const Replaced *>()(a.set, b.set); });
}

// ---- Builder ---------------------------------------------------------------------------------------

// Keeps llama.cpp from using a graph again that was not built to its end, or that does not give just what is asked for:
// hidden states, logits, or both, and in floats or not.
class ReusableGraph : public llm_graph_input_i {
public:
    ReusableGraph(const Graphs & graphs, const Scope & scope)
        : graphs(graphs), hidden(scope.hidden), logits(scope.logits), exact(scope.exact), reduction(scope.reduction) {}
    void set_input(const llama_ubatch *) override {}
    bool can_reuse(const llm_graph_params &) override {
        const Scope * s = Scope::current();
        return graphs.reusable && s && s->hidden == hidden && s->logits == logits && s->exact == exact && s->reduction == reduction && (!reduction || reduction->fits());
    }

private:
    const Graphs & graphs;
    const HiddenStates * const hidden;
    const bool logits, exact;
    const Reduction * const reduction;
};

Builder::Builder(const Scope & scope, const llm_graph_params & params)
    : model(scope.model), params(params), graphs(scope.graphs), cells(scope.cells), hidden(scope.hidden), logits(scope.logits),
      exact(scope.exact), reduction(scope.reduction) {
    if (graphs) {
        graphs->built++;
        graphs->reusable = false;
        params.res->add_input(std::make_unique<ReusableGraph>(*graphs, scope));
    }
    if (scope.mixes && !model.targets.empty()) {
        auto owned = std::make_unique<Rows>(*scope.mixes, params);
        Rows * r = owned.get();
        params.res->add_input(std::move(owned));
        rows = r->adapters ? r : nullptr;
    }
    builder_of_thread = this; // last: the destructor takes it back, and runs only where all of the above succeeded
}

Builder::~Builder() { builder_of_thread = nullptr; }
Builder * Builder::current() { return builder_of_thread; }

} // namespace lorikeet

// The originals, under the names that the linker gives them.
extern "C" {
ggml_tensor * __real_ggml_mul_mat(ggml_context * ctx, ggml_tensor * w, ggml_tensor * x);
ggml_tensor * __real_ggml_get_rows(ggml_context * ctx, ggml_tensor * table, ggml_tensor * ids);
ggml_tensor * __real_ggml_mul(ggml_context * ctx, ggml_tensor * x, ggml_tensor * w);
ggml_cgraph * __real__ZNK11llama_model11build_graphERK16llm_graph_params(const llama_model * self, const llm_graph_params & params);
size_t __real__ZNK11llama_model9n_tensorsEv(const llama_model * self);
}

namespace lorikeet {

ggml_tensor * real_mul_mat(ggml_context * ctx, ggml_tensor * w, ggml_tensor * x) { return __real_ggml_mul_mat(ctx, w, x); }
ggml_tensor * real_mul(ggml_context * ctx, ggml_tensor * x, ggml_tensor * w) { return __real_ggml_mul(ctx, x, w); }

// What the device does not compute, ggml's CPU back end would: with IQ4_NL's codebook, where the device's is NF4's.
static ggml_tensor * device_product(ggml_context * ctx, ggml_tensor * w, ggml_tensor * x) {
    ggml_tensor * y = real_mul_mat(ctx, w, x);
    const ggml_backend_dev_t device = ggml_backend_buft_get_device(ggml_backend_buffer_get_type(w->buffer));
    if (w->type == GGML_TYPE_IQ4_NL && !ggml_backend_dev_supports_op(device, y)) {
        throw std::runtime_error(std::string(w->name) + " is NF4, and " + ggml_backend_dev_name(device) + " cannot multiply it with "
            + std::to_string(x->ne[1]) + " rows");
    }
    return y;
}

ggml_tensor * Builder::product(ggml_context * ctx, ggml_tensor * w, ggml_tensor * x) {
    if (on_device(w)) {
        return device_product(ctx, w, x);
    }
    const int n_out = (int) w->ne[1];
    if (const auto nf4 = model.nf4.find(w); nf4 != model.nf4.end()) {
        return exact ? nf4_product_f32(ctx, nf4->second.get(), n_out, x) : nf4_product(ctx, nf4->second.get(), model.nf4_mode, n_out, x, prepared[x]);
    }
    if (const auto integer = model.integers.find(w); integer != model.integers.end()) {
        return exact ? int_product_f32(ctx, integer->second.get(), n_out, x) : int_product(ctx, integer->second.get(), n_out, x, rounded[x]);
    }
    return padded_product(ctx, w, x, padded[x]);
}

ggml_tensor * Builder::mul_mat(ggml_context * ctx, ggml_tensor * w, ggml_tensor * x) {
    const auto target = model.by_weight.find(w);
    if (target == model.by_weight.end()) {
        return __real_ggml_mul_mat(ctx, w, x); // attention, and whatever else the graph multiplies
    }
    if (x->type != GGML_TYPE_F32 || x->ne[2] != 1 || x->ne[3] != 1) {
        throw std::runtime_error(std::string(w->name) + ": the graph multiplies it with something that is not a 2-D batch of rows");
    }
    if (x->nb[0] != sizeof(float)) {
        x = ggml_cont(ctx, x);
    }
    if (!logits && target->second == model.head) {
        return no_logits(ctx, w, x);
    }
    if (const auto nf4 = model.nf4.find(w); nf4 != model.nf4.end() && !exact && rows && !in_slots(target->second)) {
        if (ggml_tensor * y = nf4_fused(ctx, *rows, target->second, nf4->second.get(), model.nf4_mode, (int) w->ne[1], x)) {
            return needs_rows(target->second) ? add_rows(ctx, *rows, target->second, y, x) : y;
        }
    }
    ggml_tensor * y = product(ctx, w, x);
    if (!rows) {
        return y;
    }
    y = in_slots(target->second) ? add_slots(ctx, *rows, target->second, y, x) : add_fused(ctx, *rows, target->second, y, x);
    return needs_rows(target->second) ? add_rows(ctx, *rows, target->second, y, x) : y;
}

bool Builder::in_slots(int target) const { return rows->mixes.slots && rows->mixes.slots->has(target); }

// With our kernels' nodes a graph serves every mix of rows, so it has the nodes for rows as well.
bool Builder::needs_rows(int target) const {
    return (target == model.head || target == model.embedding) && (!rows->mixes.slots || rows->needs.of[(size_t) target] & NEEDS_ROWS);
}

bool Builder::needs_norm(const Norm & n) const {
    if (!n.on_device()) {
        return rows->norms;
    }
    return !rows->needs.of.empty() && rows->needs.of[(size_t) n.host] & NEEDS_NORM;
}

ggml_tensor * Builder::get_rows(ggml_context * ctx, ggml_tensor * table, ggml_tensor * ids) {
    ggml_tensor * y = __real_ggml_get_rows(ctx, table, ids);
    if (!rows || table != model.embedding_table || !needs_rows(model.embedding)) {
        return y;
    }
    return add_embedding(ctx, *rows, model.embedding, y, ids);
}

ggml_tensor * Builder::mul(ggml_context * ctx, ggml_tensor * x, ggml_tensor * w) {
    const auto norm = rows ? model.norm_by_weight.find(w) : model.norm_by_weight.end();
    if (norm == model.norm_by_weight.end() || !needs_norm(model.norms[(size_t) norm->second])) {
        return __real_ggml_mul(ctx, x, w);
    }
    return multiply_norm(ctx, *rows, norm->second, x);
}

} // namespace lorikeet

extern "C" ggml_tensor * __wrap_ggml_mul(ggml_context * ctx, ggml_tensor * x, ggml_tensor * w) {
    Builder * b = Builder::current();
    return b ? b->mul(ctx, x, w) : __real_ggml_mul(ctx, x, w);
}

extern "C" ggml_tensor * __wrap_ggml_mul_mat(ggml_context * ctx, ggml_tensor * w, ggml_tensor * x) {
    Builder * b = Builder::current();
    return b ? b->mul_mat(ctx, w, x) : __real_ggml_mul_mat(ctx, w, x);
}

extern "C" ggml_tensor * __wrap_ggml_get_rows(ggml_context * ctx, ggml_tensor * table, ggml_tensor * ids) {
    Builder * b = Builder::current();
    return b ? b->get_rows(ctx, table, ids) : __real_ggml_get_rows(ctx, table, ids);
}

extern "C" ggml_cgraph * __wrap__ZNK11llama_model11build_graphERK16llm_graph_params(const llama_model * self, const llm_graph_params & params) {
    const Scope * scope = Scope::current();
    if (!scope || scope->model.handle != self) {
        return __real__ZNK11llama_model11build_graphERK16llm_graph_params(self, params);
    }
    Builder builder(*scope, params);
    ggml_cgraph * graph = __real__ZNK11llama_model11build_graphERK16llm_graph_params(self, params);
    builder.finish();
    return graph;
}

// llama.cpp allots a graph 8 nodes per tensor. Ours come on top: our kernels need up to 12 per linear layer, slots what they say.
extern "C" size_t __wrap__ZNK11llama_model9n_tensorsEv(const llama_model * self) {
    const Scope * scope = Scope::current();
    const Slots * slots = scope && scope->mixes ? scope->mixes->slots.get() : nullptr;
    return (3 + (slots ? slots->most_nodes()/8 : 0))*__real__ZNK11llama_model9n_tensorsEv(self);
}
