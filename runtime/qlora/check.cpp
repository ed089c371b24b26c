// Checks a model and the options of a trainer before any memory is allocated, and names what is wrong.
#include "../kernels/kernels.h"
#include "decompose.h"
#include "graph_model.h"
#include <algorithm>
#include <set>

namespace lq {

namespace {

const char * const names[LQ_TARGETS] = {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down", "token_embd", "output"};

[[noreturn]] void bad(const std::string & message) { throw Error{LQ_INVALID, message}; }

void check_weight(const Weight & w, const std::string & name, int n_in, int n_out) {
    if (const char * fault = weight_fault(w)) {
        bad(name + ".weight (" + kind_name(w.kind) + ") " + fault);
    }
    if (w.n_in != n_in || w.n_out != n_out) {
        bad(name + ".weight is " + std::to_string(w.n_in) + " by " + std::to_string(w.n_out) + ", expected " + std::to_string(n_in) + " by " +
            std::to_string(n_out));
    }
}

} // namespace

std::string target_name(int layer, int target) {
    const std::string name = target >= 0 && target < LQ_TARGETS ? names[target] : "unknown";
    return target < LQ_LINEARS ? "blk." + std::to_string(layer) + "." + name : name;
}

std::string norm_name(int layer, int norm) {
    static const char * const of_layer[LQ_LAYER_NORMS] = {"attn_norm", "ffn_norm", "attn_q_norm", "attn_k_norm"};
    if (norm == LQ_OUT_NORM) {
        return "output_norm";
    }
    return "blk." + std::to_string(layer) + "." + (norm >= 0 && norm < LQ_LAYER_NORMS ? of_layer[norm] : "unknown");
}

void check_model(const lq_model & m) {
    if (m.n_embd <= 0 || m.n_layers <= 0 || m.n_heads <= 0 || m.n_kv_heads <= 0 || m.head_size <= 0 || m.n_ff <= 0 || m.n_vocab <= 0) {
        bad("a dimension of the model is not positive");
    }
    if (m.n_heads % m.n_kv_heads || m.head_size % 2) {
        bad("the number of attention heads must be a multiple of the number of KV heads, and the head size even");
    }
    const int q = m.n_heads*m.head_size, kv = m.n_kv_heads*m.head_size;
    const int in[LQ_LINEARS] = {m.n_embd, m.n_embd, m.n_embd, q, m.n_embd, m.n_embd, m.n_ff};
    const int out[LQ_LINEARS] = {q, kv, kv, m.n_embd, m.n_ff, m.n_ff, m.n_embd};
    for (int i = 0; i < m.n_layers; i++) {
        const lq_layer & l = m.layers[i];
        for (int j = 0; j < LQ_LINEARS; j++) {
            check_weight(l.linear[j], target_name(i, j), in[j], out[j]);
        }
        if (!l.attn_norm || !l.ffn_norm || !l.q_norm != !l.k_norm) {
            bad("blk." + std::to_string(i) + " has no weight of a norm");
        }
        if (!l.q_norm != !m.layers[0].q_norm) {
            bad("blk." + std::to_string(i) + " and blk.0 must both have norms of q and k, or neither");
        }
    }
    check_weight(m.embed, "token_embd", m.n_embd, m.n_vocab);
    check_weight(m.head, m.tied ? "token_embd" : "output", m.n_embd, m.n_vocab);
    if (!m.out_norm) {
        bad("output_norm.weight is missing");
    }
}

static void check_init(const lq_model & m, const lq_module & x, const std::string & name) {
    if (x.init < 0 || x.init >= LQ_INITS || x.init_iterations < 0) {
        bad(name + " has an initialisation that is not known");
    }
    if (x.target == LQ_EMBED && x.init != LQ_INIT_DEFAULT && x.init != LQ_INIT_GAUSSIAN) {
        bad(name + " cannot begin as init_lora_weights says: it is looked up, not multiplied");
    }
    if (x.init == LQ_INIT_ORTHOGONAL && x.rank % 2) {
        bad(name + " has rank " + std::to_string(x.rank) + ", and \"orthogonal\" (init_lora_weights) needs an even one");
    }
    if (!decomposed(x)) {
        return;
    }
    const Weight & w = x.target == LQ_HEAD ? m.head : m.layers[x.layer].linear[x.target];
    const int most = std::min({of_weight(x) ? LK_MAX_RANK/2 : LK_MAX_RANK, w.n_in, w.n_out});
    if (x.rank > most) {
        bad(name + " has rank " + std::to_string(x.rank) + "; where the adapter begins as a part of the weight (init_lora_weights) it must lie in [1, " +
            std::to_string(most) + "]" + (of_weight(x) ? ", since what is kept has twice the rank" : ""));
    }
    if (!(x.scale > 0)) {
        bad(name + " has no positive scale, which an adapter that begins as a part of the weight (init_lora_weights) needs");
    }
    if (x.init == LQ_INIT_LOFTQ) {
        const Weight & original = x.original;
        if (original.kind != LQ_F32 && original.kind != LQ_F16 && original.kind != LQ_BF16) {
            bad(name + " cannot begin as \"loftq\" (init_lora_weights) without its weights as they were before quantization");
        }
        check_weight(original, "the original's " + name, w.n_in, w.n_out);
        if (x.original_heads < 0 || (x.original_heads > 0 && w.n_out % (2*x.original_heads))) {
            bad("the original's " + name + " cannot be split into heads of pairs");
        }
    }
}

void check_norms(const lq_model & m, const lq_options & o, bool qk) {
    std::set<std::string> seen;
    for (int i = 0; i < o.n_norms; i++) {
        const lq_whole_norm & x = o.norms[i];
        const std::string name = norm_name(x.layer, x.norm);
        if (x.norm < 0 || x.norm >= LQ_NORMS || (x.norm != LQ_OUT_NORM && (x.layer < 0 || x.layer >= m.n_layers)) || (!qk && (x.norm == LQ_Q_NORM || x.norm == LQ_K_NORM))) {
            bad(name + " is not a norm of this model");
        }
        if (o.activated) {
            bad(name + " cannot be trained whole (modules_to_save) in an activated LoRA (alora_invocation_tokens)");
        }
        if (!seen.insert(name).second) {
            bad(name + " is named twice");
        }
    }
}

void check_options(const lq_model & m, const lq_options & o) {
    if (m.out_norm) { // else the norms lie on a device
        check_norms(m, o, m.layers[0].q_norm != nullptr);
    }
    if (o.n_modules <= 0) {
        bad("no tensor is to be trained");
    }
    if (o.max_tokens <= 0 || o.threads <= 0 || o.keep < 0) {
        bad("max_tokens and threads must be positive, keep not negative");
    }
    if (!(o.dropout >= 0 && o.dropout < 1)) {
        bad("dropout must lie in [0, 1)");
    }
    if (!(o.noise >= 0 && o.noise <= 1e6f)) {
        bad("NEFTune's alpha (neftune_noise_alpha) must lie in [0, 1000000]");
    }
    if (!kernels_for(o.isa).tile) {
        bad(std::string("this CPU cannot run ") + lq_isa_name(o.isa));
    }
    std::set<std::string> seen;
    for (int i = 0; i < o.n_modules; i++) {
        const lq_module & x = o.modules[i];
        const std::string name = target_name(x.layer, x.target);
        if (x.target < 0 || x.target >= LQ_TARGETS || (x.target < LQ_LINEARS && (x.layer < 0 || x.layer >= m.n_layers))) {
            bad(name + " is not a tensor of this model");
        }
        if (x.target == LQ_HEAD && m.tied) {
            bad("output (lm_head) cannot be trained: this model has none of its own, it uses the embedding");
        }
        if (x.rank < 1 || x.rank > LK_MAX_RANK) {
            bad(name + " has rank " + std::to_string(x.rank) + ", which must lie in [1, " + std::to_string((int) LK_MAX_RANK) + "]");
        }
        if (x.dora && x.target == LQ_EMBED) {
            bad(name + " cannot be trained with DoRA (use_dora): it is looked up, not multiplied");
        }
        check_init(m, x, name);
        if (!seen.insert(name).second) {
            bad(name + " is named twice");
        }
    }
}

void check_graph_options(const lq_graphs & g, const lq_options & o) {
    check_norms(g.model, o, g.layers[0].q_norm != nullptr);
    for (int i = 0; i < o.n_modules; i++) {
        if (decomposed(o.modules[i])) {
            bad(target_name(o.modules[i].layer, o.modules[i].target) + " cannot begin as a part of its weight (init_lora_weights) on a device: \"pissa\", \"olora\" and \"loftq\" are computed where the CPU trains");
        }
    }
}

} // namespace lq
