// The stock path that tests compare with: llama.cpp's own adapters on every row of a context.
#include "llamatest.h"
#include "../device.h"
#include <cstdlib>
#include <mutex>

using namespace lorikeet;

struct AdapterFree {
    void operator()(llama_adapter_lora * a) const { llama_adapter_lora_free(a); }
};

struct test_reference {
    std::shared_ptr<const Model> model;
    std::vector<std::unique_ptr<llama_adapter_lora, AdapterFree>> adapters; // outlive the context
    std::unique_ptr<llama_context, ContextFree> context;
    int position = 0;
};

test_reference * test_reference_new(const void * model, int32_t cells, int32_t threads, int32_t kv, int32_t flash, ll_error * err) {
    const ll_model * m = (const ll_model *) model;
    Call call(m->model->log);
    return guarded(err, (test_reference *) nullptr, [&] {
        auto r = std::make_unique<test_reference>();
        r->model = m->model;
        llama_context_params p = llama_context_default_params();
        p.n_ctx = p.n_batch = p.n_ubatch = (uint32_t) cells;
        p.n_threads = p.n_threads_batch = threads;
        p.type_k = p.type_v = kv_type(kv);
        p.flash_attn_type = flash_type(flash);
        p.pooling_type = LLAMA_POOLING_TYPE_NONE;
        Scope scope(*m->model, nullptr, nullptr); // NF4 weights need their nodes here too; no adapters of ours
        // This version of llama.cpp reuses a graph although the context's adapters have changed. It can only be
        // told not to by the environment, which all threads share.
        static std::mutex environment;
        std::lock_guard<std::mutex> lock(environment);
        setenv("LLAMA_GRAPH_REUSE_DISABLE", "1", 1);
        r->context.reset(llama_init_from_model(m->model->handle, p));
        unsetenv("LLAMA_GRAPH_REUSE_DISABLE");
        if (!r->context) {
            call.fail("the context could not be created");
        }
        return r.release();
    });
}

void test_reference_free(test_reference * r) { delete r; }

int test_reference_add(test_reference * r, const char * path, float scale, ll_error * err) {
    Call call(r->model->log);
    return guarded(err, (int) LL_FAILED, [&] {
        r->adapters.emplace_back(llama_adapter_lora_init(r->model->handle, path));
        if (!r->adapters.back() || llama_set_adapter_lora(r->context.get(), r->adapters.back().get(), scale) != 0) {
            throw std::runtime_error(call.error("the adapter could not be loaded"));
        }
        return (int) LL_OK;
    });
}

void test_reference_clear(test_reference * r) { llama_clear_adapter_lora(r->context.get()); }

// Appends n tokens and copies width numbers of each to out, which row(i) returns.
template <typename F> static int decode(test_reference * r, const int32_t * tokens, int n, int width, float * out, ll_error * err, F row) {
    Call call(r->model->log);
    return guarded(err, (int) LL_FAILED, [&] {
        Batch b((size_t) n);
        std::vector<ll_row> rows;
        rows.reserve((size_t) n);
        for (int i = 0; i < n; i++) {
            rows.push_back({tokens[i], 0, r->position + i, -1, nullptr, 0, 0, 0});
        }
        b.set(rows.data(), n, false);
        std::fill(b.wanted.begin(), b.wanted.end(), (int8_t) 1);
        Scope scope(*r->model, nullptr, nullptr);
        if (const int code = llama_decode(r->context.get(), b.batch)) {
            throw std::runtime_error(call.error("llama_decode failed with code " + std::to_string(code)));
        }
        r->position += n;
        for (int i = 0; i < n; i++) {
            const float * l = row(i);
            if (!l) {
                throw std::runtime_error("row " + std::to_string(i) + " has no result");
            }
            std::copy(l, l + width, out + (size_t) i*width);
        }
        return (int) LL_OK;
    });
}

int test_reference_decode(test_reference * r, const int32_t * tokens, int n, float * out, ll_error * err) {
    return decode(r, tokens, n, r->model->n_vocab(), out, err, [&](int i) { return llama_get_logits_ith(r->context.get(), i); });
}

int test_reference_embed(test_reference * r, const int32_t * tokens, int n, float * out, ll_error * err) {
    llama_set_embeddings(r->context.get(), true);
    const int width = llama_model_n_embd(r->model->handle);
    const int code = decode(r, tokens, n, width, out, err, [&](int i) { return llama_get_embeddings_ith(r->context.get(), i); });
    llama_set_embeddings(r->context.get(), false);
    return code;
}
