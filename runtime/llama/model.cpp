// Loading a model and telling what it is.
#include "devices.h"
#include "model.h"
#include "ggml-cpu.h"
#include <algorithm>
#include <cstdio>
#include <cstring>

extern "C" void lorikeetProgress(uintptr_t handle, double done);

using namespace lorikeet;

void ll_init(void) {
    Call::init();
    llama_backend_init();
}

void ll_system_info(char * out, size_t capacity) {
    static const char * const isa[] = {"portable", "AVX2", "AVX-512"};
    snprintf(out, capacity, "kernels %s | %s", isa[lk_isa()], llama_print_system_info());
}

static std::string meta(const llama_model * m, const char * key) {
    const int n = llama_model_meta_val_str(m, key, nullptr, 0);
    if (n < 0) {
        return "";
    }
    std::string s((size_t) n + 1, '\0');
    llama_model_meta_val_str(m, key, &s[0], s.size());
    s.resize((size_t) n);
    return s;
}

static void describe(Model & m, const ll_load_options & o) {
    const llama_vocab * v = m.vocab();
    m.architecture = m.handle->arch_name();
    m.name = meta(m.handle, "general.name");
    if (const char * t = llama_model_chat_template(m.handle, nullptr)) {
        m.chat_template = t;
    }
    if (!m.has_vocab()) {
        return;
    }
    const int32_t * more = o.end_tokens, * end = more + o.n_end_tokens;
    for (llama_token t = 0; t < m.n_vocab(); t++) {
        const bool by_default = o.no_eos && t == llama_vocab_eos(v) && !llama_vocab_is_control(v, t);
        if ((llama_vocab_is_eog(v, t) && !by_default) || std::find(more, end, t) != end) {
            m.end_tokens.push_back(t);
        }
    }
}

bool lorikeet::on_device(const ggml_tensor * t) {
    const ggml_backend_buffer_t b = t->view_src ? t->view_src->buffer : t->buffer;
    return b && !ggml_backend_buffer_is_host(b) && ggml_backend_dev_type(ggml_backend_buft_get_device(ggml_backend_buffer_get_type(b))) != GGML_BACKEND_DEVICE_TYPE_CPU;
}

bool lorikeet::on_device(const Model & m) {
    return std::any_of(m.targets.begin(), m.targets.end(), [](const Target & t) { return on_device(t.weight); });
}

static llama_model * load(const ll_load_options & o) {
    llama_model_params p = llama_model_default_params();
    p.use_mmap = o.use_mmap;
    ggml_backend_dev_t devices[] = {o.device ? find_device(o.device) : nullptr, nullptr}; // none: llama.cpp would take all that there are
    p.devices = devices;
    p.n_gpu_layers = o.device ? o.device_layers : 0;
    p.no_host = true; // what stays on the CPU lies in the CPU's own memory, where our kernels expect it
    llama_model_kv_override overrides[2] = {};
    if (o.architecture) {
        overrides[0].tag = LLAMA_KV_OVERRIDE_TYPE_STR;
        snprintf(overrides[0].key, sizeof overrides[0].key, "general.architecture");
        snprintf(overrides[0].val_str, sizeof overrides[0].val_str, "%s", o.architecture);
        p.kv_overrides = overrides;
        // ggml would repack tensors typed IQ4_NL with its own codebook. What else such a file holds (Q8_0, Q6_K,
        // F32) has no repacked form on this CPU.
        p.use_extra_bufts = false;
    }
    if (o.progress) {
        p.progress_callback_user_data = const_cast<ll_load_options *>(&o);
        p.progress_callback = [](float done, void * options) {
            lorikeetProgress(static_cast<ll_load_options *>(options)->progress, done);
            return true;
        };
    }
    Nf4Load nf4(o);
    return llama_model_load_from_file(o.path, p);
}

ll_model * ll_model_load(const ll_load_options * o, ll_error * err) {
    Call call(o->log);
    return guarded(err, (ll_model *) nullptr, [&]() -> ll_model * {
        auto m = std::make_shared<Model>();
        m->log = o->log;
        m->nf4_mode = o->nf4_mode;
        m->handle = load(*o);
        if (!m->handle) {
            call.fail("the model could not be loaded");
        }
        describe(*m, *o);
        find_targets(*m);
        if (o->architecture) {
            pack_nf4(*m, *o);
        } else {
            check_iq4nl(*m);
        }
        pack_integers(*m);
        return new ll_model{m};
    });
}

void ll_model_free(ll_model * m) { delete m; }

// The bytes that a tensor takes in memory: as our kernels have it, or as ggml has it, or both.
static size_t resident_bytes(const Model & m, const ggml_tensor * t) {
    const lk_packed packed = m.packed(t);
    if (packed.nf4) {
        return lk_nf4_bytes(packed.nf4);
    }
    if (packed.integer) {
        return lk_int_bytes(packed.integer) + (original_read(m, t) ? ggml_nbytes(t) : 0);
    }
    return ggml_nbytes(t);
}

int ll_model_on_device(const ll_model * m) { return on_device(*m->model); }

void ll_model_facts(const ll_model * w, ll_facts * out) {
    const Model & m = *w->model;
    *out = {};
    out->context_length = llama_model_n_ctx_train(m.handle);
    out->vocab_size = m.n_vocab();
    out->embedding = llama_model_n_embd(m.handle);
    out->layers = llama_model_n_layer(m.handle);
    out->heads = llama_model_n_head(m.handle);
    out->kv_heads = llama_model_n_head_kv(m.handle);
    out->head_size = (int32_t) m.handle->hparams.n_embd_head_k;
    out->rope_norm = llama_model_rope_type(m.handle) == LLAMA_ROPE_TYPE_NORM;
    out->parameters = (int64_t) llama_model_n_params(m.handle);
    for (const auto & [name, t] : m.handle->tensors_by_name) {
        out->resident += (int64_t) resident_bytes(m, t);
    }
    out->architecture = m.architecture.c_str();
    out->name = m.name.c_str();
    out->chat_template = m.chat_template.c_str();
}

int ll_model_targets(const ll_model * m) { return (int) m->model->targets.size(); }

const char * ll_model_target(const ll_model * m, int i, int32_t * n_in, int32_t * n_out) {
    const Target & t = m->model->targets[(size_t) i];
    *n_in = t.n_in;
    *n_out = t.n_out;
    return t.name.c_str();
}

int ll_model_norms(const ll_model * m) { return (int) m->model->norms.size(); }

const char * ll_model_norm(const ll_model * m, int i, int32_t * width) {
    const Norm & n = m->model->norms[(size_t) i];
    *width = n.width;
    return n.name.c_str();
}

int ll_model_refusals(const ll_model * m) { return (int) m->model->refused.size(); }

const char * ll_model_refusal(const ll_model * m, int i, const char ** reason) {
    const auto & r = m->model->refused[(size_t) i];
    *reason = r.second.c_str();
    return r.first.c_str();
}
