// Sample models as GGUF files, and what llama.cpp by itself computes with them: the tests' outside witness.
#include "gguf.h"
#include "llama.h"
#include "sample_model.h"
#include <string.h>
#include <string>

namespace {

struct Writer {
    gguf_context * gguf = gguf_init_empty();
    ggml_context * ctx;
    std::string arch;

    explicit Writer(const char * a) : arch(a) {
        const ggml_init_params params = {8192*ggml_tensor_overhead(), nullptr, true};
        ctx = ggml_init(params);
    }
    Writer(const Writer &) = delete;
    Writer & operator=(const Writer &) = delete;
    ~Writer() {
        ggml_free(ctx);
        gguf_free(gguf);
    }
    std::string key(const char * k) const { return arch + "." + k; }
    void number(const char * k, int v) { gguf_set_val_u32(gguf, key(k).c_str(), (uint32_t) v); }
    void floats(const std::string & name, const float * x, int n) {
        if (x) {
            add(ggml_new_tensor_1d(ctx, GGML_TYPE_F32, n), name, x);
        }
    }
    bool weight(const std::string & name, const lq_weight & w) {
        ggml_type type;
        if (!lq::file_type(w, &type)) {
            return false;
        }
        add(ggml_new_tensor_2d(ctx, type, w.n_in, w.n_out), name + ".weight", w.data);
        floats(name + ".bias", w.bias, w.n_out);
        return true;
    }
    void add(ggml_tensor * t, const std::string & name, const void * data) {
        ggml_set_name(t, name.c_str());
        t->data = const_cast<void *>(data);
        gguf_add_tensor(gguf, t);
    }
};

void write_facts(Writer & w, const lq_sample & s) {
    const lq_model & m = s.model;
    gguf_set_val_str(w.gguf, "general.architecture", w.arch.c_str());
    gguf_set_val_str(w.gguf, "tokenizer.ggml.model", "none");
    w.number("context_length", 4096);
    w.number("embedding_length", m.n_embd);
    w.number("block_count", m.n_layers);
    w.number("feed_forward_length", m.n_ff);
    w.number("attention.head_count", m.n_heads);
    w.number("attention.head_count_kv", m.n_kv_heads);
    w.number("attention.key_length", m.head_size);
    w.number("attention.value_length", m.head_size);
    w.number("rope.dimension_count", m.head_size);
    w.number("vocab_size", m.n_vocab);
    gguf_set_val_f32(w.gguf, w.key("attention.layer_norm_rms_epsilon").c_str(), m.norm_eps);
    gguf_set_val_f32(w.gguf, w.key("rope.freq_base").c_str(), m.rope_base);
    if (s.rope_factors) { // as sample.cpp stretches
        gguf_set_val_str(w.gguf, w.key("rope.scaling.type").c_str(), "yarn");
        gguf_set_val_f32(w.gguf, w.key("rope.scaling.factor").c_str(), 2);
        w.number("rope.scaling.original_context_length", 64);
        w.floats("rope_freqs.weight", s.rope_factors, m.head_size/2);
    }
}

bool write_tensors(Writer & w, const lq_model & m) {
    const char * const names[LQ_LINEARS] = {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};
    bool ok = w.weight("token_embd", m.embed) && (m.tied || w.weight("output", m.head));
    w.floats("output_norm.weight", m.out_norm, m.n_embd);
    for (int i = 0; i < m.n_layers; i++) {
        const lq_layer & l = m.layers[i];
        const std::string block = "blk." + std::to_string(i) + ".";
        for (int j = 0; j < LQ_LINEARS; j++) {
            ok = ok && w.weight(block + names[j], l.linear[j]);
        }
        w.floats(block + "attn_norm.weight", l.attn_norm, m.n_embd);
        w.floats(block + "ffn_norm.weight", l.ffn_norm, m.n_embd);
        w.floats(block + "attn_q_norm.weight", l.q_norm, m.head_size);
        w.floats(block + "attn_k_norm.weight", l.k_norm, m.head_size);
    }
    return ok;
}

} // namespace

int lq_sample_write(const lq_sample * s, const char * architecture, const char * path) {
    Writer w(architecture);
    write_facts(w, *s);
    return write_tensors(w, s->model) && gguf_write_to_file(w.gguf, path, false) ? 0 : -1;
}

struct lq_stock {
    llama_model * model = nullptr;
    llama_context * context = nullptr;
};

lq_stock * lq_stock_load_on(const char * path, const char * device, int layers) {
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    ggml_backend_dev_t devices[] = {ggml_backend_dev_by_name(device), nullptr};
    llama_model_params mp = llama_model_default_params();
    mp.devices = devices;
    mp.n_gpu_layers = layers;
    lq_stock * s = new lq_stock;
    s->model = devices[0] ? llama_model_load_from_file(path, mp) : nullptr;
    if (!s->model) {
        lq_stock_free(s);
        return nullptr;
    }
    return s;
}

lq_stock * lq_stock_load(const char * path, int repack) {
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_backend_init();
    llama_model_params mp = llama_model_default_params();
    ggml_backend_dev_t none[] = {nullptr};
    mp.devices = none;
    mp.n_gpu_layers = 0;
    mp.use_extra_bufts = repack != 0;
    llama_context_params cp = llama_context_default_params();
    cp.n_ctx = cp.n_batch = cp.n_ubatch = 512;
    cp.n_threads = cp.n_threads_batch = 2;
    cp.type_k = cp.type_v = GGML_TYPE_F32;
    cp.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    lq_stock * s = new lq_stock;
    s->model = llama_model_load_from_file(path, mp);
    s->context = s->model ? llama_init_from_model(s->model, cp) : nullptr;
    if (!s->context) {
        lq_stock_free(s);
        return nullptr;
    }
    return s;
}

const void * lq_stock_model(const lq_stock * s) { return s->model; }

int lq_stock_logits(lq_stock * s, const int32_t * tokens, int n, float * out) {
    llama_memory_clear(llama_get_memory(s->context), true);
    llama_batch b = llama_batch_init(n, 0, 1);
    b.n_tokens = n;
    for (int i = 0; i < n; i++) {
        b.token[i] = tokens[i];
        b.pos[i] = i;
        b.n_seq_id[i] = 1;
        b.seq_id[i][0] = 0;
        b.logits[i] = 1;
    }
    const int status = llama_decode(s->context, b);
    const size_t width = llama_vocab_n_tokens(llama_model_get_vocab(s->model));
    for (int i = 0; i < n && status == 0; i++) {
        memcpy(out + i*width, llama_get_logits_ith(s->context, i), width*sizeof(float));
    }
    llama_batch_free(b);
    return status;
}

void lq_stock_free(lq_stock * s) {
    if (s) {
        llama_free(s->context);
        llama_model_free(s->model);
        delete s;
    }
}
