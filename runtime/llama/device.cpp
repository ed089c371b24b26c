// Making a device, and what happens to its sequences between decodes.
#include "device.h"
#include <algorithm>
#include <numeric>

namespace lorikeet {

Batch::Batch(size_t n) : tokens(n), positions(n), counts(n, 1), sequences(n), sequence_pointers(n), wanted(n) {
    for (size_t i = 0; i < n; i++) {
        sequence_pointers[i] = &sequences[i];
    }
    batch.token = tokens.data();
    batch.pos = positions.data();
    batch.n_seq_id = counts.data();
    batch.seq_id = sequence_pointers.data();
    batch.logits = wanted.data();
}

void Batch::set(const ll_row * rows, int n, bool apart) {
    std::vector<int> order((size_t) n);
    std::iota(order.begin(), order.end(), 0);
    if (apart) {
        std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return rows[a].seq > rows[b].seq; });
    }
    place.resize((size_t) n);
    for (size_t at = 0; at < order.size(); at++) {
        const ll_row & row = rows[order[at]];
        place[(size_t) order[at]] = (int) at;
        tokens[at] = row.token;
        positions[at] = row.pos;
        sequences[at] = row.seq;
        wanted[at] = row.sampler || row.scored || row.hidden;
    }
    batch.n_tokens = n;
}

ggml_type kv_type(int32_t type) {
    switch (type) {
    case LL_KV_F32: return GGML_TYPE_F32;
    case LL_KV_Q8_0: return GGML_TYPE_Q8_0;
    default: return GGML_TYPE_F16;
    }
}

llama_flash_attn_type flash_type(int32_t type) {
    switch (type) {
    case LL_FLASH_ON: return LLAMA_FLASH_ATTN_TYPE_ENABLED;
    case LL_FLASH_OFF: return LLAMA_FLASH_ATTN_TYPE_DISABLED;
    default: return LLAMA_FLASH_ATTN_TYPE_AUTO;
    }
}

static llama_context_params context_params(const ll_device_options & o) {
    llama_context_params p = llama_context_default_params();
    p.n_ctx = (uint32_t) o.cells;
    p.n_batch = (uint32_t) o.batch;
    p.n_ubatch = (uint32_t) o.ubatch;
    p.n_seq_max = (uint32_t) o.sequences;
    p.n_threads = p.n_threads_batch = o.threads;
    p.type_k = p.type_v = kv_type(o.kv_type);
    p.flash_attn_type = flash_type(o.flash);
    p.kv_unified = !o.split_kv;
    p.swa_full = true; // sequences are truncated and shared, which a sliding cache cannot do
    p.op_offload = false; // a device must not be lent the CPU's layers for large batches: their weights are packed for our kernels
    p.no_perf = true;
    return p;
}

static std::unique_ptr<Slots> make_slots(const Model & m, const ll_device_options & o) {
    if (o.slot_ranks == 0) {
        return nullptr;
    }
    return std::make_unique<Slots>(m, o.all_slots != 0, o.slot_ranks, o.slot_f32 ? GGML_TYPE_F32 : GGML_TYPE_F16, (SlotProducts) o.products);
}

// llama.cpp looks at the size of heads only where flash attention is automatic, and otherwise aborts later.
static void check_cache_type(const llama_model & m, ggml_type type) {
    const int64_t block = ggml_blck_size(type);
    for (const uint32_t size : {m.hparams.n_embd_head_k, m.hparams.n_embd_head_v}) {
        if (size % block != 0) {
            throw std::runtime_error(std::string("a KV cache of type ") + ggml_type_name(type) + " (--kv-type) needs heads of a multiple of "
                + std::to_string(block) + " values, and the model's have " + std::to_string(size) + ": use f16 or f32");
        }
    }
}

} // namespace lorikeet

using namespace lorikeet;

ll_device::ll_device(std::shared_ptr<const Model> m, const ll_device_options & o, const Call & call)
    : model(std::move(m)), mixes(model, o.sequences, make_slots(*model, o)), sequence_cells((size_t) o.sequences), split_kv(o.split_kv), rows((size_t) o.batch), batch((size_t) o.batch),
      hidden((size_t) model->handle->hparams.n_embd) {
    if (llama_model_has_encoder(model->handle) || !llama_model_has_decoder(model->handle)) {
        throw std::runtime_error("the model is not a decoder: it cannot generate text");
    }
    check_cache_type(*model->handle, kv_type(o.kv_type));
    Scope scope(*model, &mixes, shared_cells());
    scope.graphs = &graphs;
    context.reset(llama_init_from_model(model->handle, context_params(o)));
    if (!context) {
        call.fail("the context could not be created");
    }
    if (!memory()) {
        throw std::runtime_error("the model has no KV cache: models that only encode, such as BERT, are not served");
    }
    ggml_threadpool_params t = ggml_threadpool_params_default(o.threads);
    t.poll = (uint32_t) o.poll;
    threads.reset(ggml_threadpool_new(&t));
    if (!threads) {
        throw std::bad_alloc();
    }
    llama_attach_threadpool(context.get(), threads.get(), threads.get());
    full_logits = o.full_logits != 0;
    can_truncate = !llama_model_is_recurrent(model->handle) && !llama_model_is_hybrid(model->handle);
}

void ll_device::require_sequence(int seq) const {
    if (seq < 0 || seq >= mixes.sequences()) {
        throw std::runtime_error("sequence " + std::to_string(seq) + " is not one of the " + std::to_string(mixes.sequences()));
    }
}

ll_device * ll_device_new(const ll_model * m, const ll_device_options * o, ll_error * err) {
    Call call(m->model->log);
    return guarded(err, (ll_device *) nullptr, [&] { return new ll_device(m->model, *o, call); });
}

void ll_device_free(ll_device * d) { delete d; }

void ll_device_limits(const ll_device * d, int32_t * cells, int32_t * batch, int32_t * can_truncate) {
    *cells = (int32_t) llama_n_ctx(d->context.get());
    *batch = (int32_t) llama_n_batch(d->context.get());
    *can_truncate = d->can_truncate;
}

int64_t ll_slot_rank_bytes(const ll_model * m, int all_slots, int slot_f32) {
    return (int64_t) Slots::rank_bytes(*m->model, all_slots != 0, slot_f32 ? GGML_TYPE_F32 : GGML_TYPE_F16);
}

void ll_pack_slots(const ll_pack * p, int all_slots, int32_t * rank, int32_t * vectors) {
    *rank = Slots::rank_needed(*p->pack->model, all_slots != 0, *p->pack);
    *vectors = Slots::vectors_needed(*p->pack->model, all_slots != 0, *p->pack);
}

int ll_device_upload(ll_device * d, const ll_pack * pack, ll_place place, ll_error * err) {
    return guarded(err, (int) LL_FAILED, [&] {
        if (pack->pack->model != d->model || !d->mixes.slots) {
            throw std::runtime_error("the adapter was packed for another model, or the device has no slots");
        }
        d->mixes.slots->upload(*pack->pack, {place.lora, place.vectors});
        return (int) LL_OK;
    });
}

int ll_device_set_adapters(ll_device * d, int seq, ll_pack * const * packs, const float * scales, const int32_t * from, const ll_place * places, int n, ll_error * err) {
    return guarded(err, (int) LL_FAILED, [&] {
        d->require_sequence(seq);
        if (n > MAX_TERMS) {
            throw std::runtime_error("a composition has at most " + std::to_string(MAX_TERMS) + " adapters");
        }
        std::vector<Term> terms;
        for (int i = 0; i < n; i++) {
            if (packs[i]->pack->model != d->model) {
                throw std::runtime_error("the adapter was packed for another model");
            }
            Term term = {packs[i]->pack, scales[i], from[i], {}, 0};
            if (d->mixes.slots) {
                term.place = {places[i].lora, places[i].vectors};
                term.rank_class = class_of_rank(d->mixes.slots->rank_of(*term.pack));
            }
            terms.push_back(std::move(term));
        }
        d->mixes.set(seq, terms);
        return (int) LL_OK;
    });
}

int ll_device_copy(ll_device * d, int dst, int src, int n, ll_error * err) {
    return guarded(err, (int) LL_FAILED, [&] {
        d->require_sequence(dst);
        d->require_sequence(src);
        if (d->cells(dst) != 0) {
            throw std::runtime_error("sequence " + std::to_string(dst) + " is not empty");
        }
        const int have = d->cells(src);
        if (n < 0 || n > have || (n < have && (!d->can_truncate || d->split_kv))) {
            throw std::runtime_error("cannot copy " + std::to_string(n) + " cells of the " + std::to_string(have) + " in sequence " + std::to_string(src));
        }
        if (n > 0 && dst != src) {
            d->changing_cells([&] {
                llama_memory_seq_cp(d->memory(), src, dst, 0, d->split_kv ? -1 : n);
                d->sequence_cells.copy(dst, src, n);
            });
        }
        return (int) LL_OK;
    });
}

int ll_device_truncate(ll_device * d, int seq, int from, int32_t * kept, ll_error * err) {
    return guarded(err, (int) LL_FAILED, [&] {
        d->require_sequence(seq);
        from = std::max(from, 0);
        *kept = std::min(from, d->cells(seq));
        d->changing_cells([&] {
            if (!llama_memory_seq_rm(d->memory(), seq, from, -1)) {
                // A recurrent state cannot be truncated.
                llama_memory_seq_rm(d->memory(), seq, -1, -1);
                *kept = 0;
            }
            d->sequence_cells.truncate(seq, *kept);
        });
        return (int) LL_OK;
    });
}

ll_row * ll_device_rows(ll_device * d) { return d->rows.data(); }
int64_t ll_device_logits_copied(const ll_device * d) { return d->reduction.copied; }
int64_t ll_device_graph_builds(const ll_device * d) { return d->graphs.built; }
