// Our attention in llama.cpp's graphs.
//
// llama.cpp finds the cells that a row may see with a mask of (rows, cells), which it fills before every
// decode. Our node does not read it; so the mask is in no graph, has no memory, and is not filled.
#include "hooks.h"
#include "llama-kv-cache.h"
#include <algorithm>

namespace lorikeet {

void Attention::set_input(const llama_ubatch * ubatch) {
    const int64_t * cell = (const int64_t *) key_cells->data;
    for (uint32_t i = 0; i < ubatch->n_tokens; i++) {
        cells.append(ubatch->seq_id[i][0], ubatch->pos[i], (int32_t) cell[i]);
    }
    tiles.clear();
    for (uint32_t i = 0; i < ubatch->n_tokens; i++) {
        const int seq = ubatch->seq_id[i][0];
        if (i > 0 && ubatch->seq_id[i - 1][0] == seq && tiles.back().rows < tile_rows) {
            tiles.back().rows++;
            tiles.back().n++;
        } else {
            tiles.push_back({(int) i, 1, cells.sequence(seq).data(), ubatch->pos[i] + 1});
        }
    }
    for (Node & n : nodes) {
        n.next.store(0, std::memory_order_relaxed);
    }
}

ggml_tensor * Attention::node(ggml_context * ctx, ggml_tensor * q, ggml_tensor * k, ggml_tensor * v, float scale) {
    tile_rows = std::max(1, ATTENTION_QUERIES/(int) (q->ne[2]/k->ne[2]));
    Node & n = nodes.emplace_back();
    n.attention = this;
    n.scale = scale;
    ggml_tensor * args[] = {q, k, v};
    return ggml_custom_4d(ctx, GGML_TYPE_F32, v->ne[0], q->ne[2], q->ne[1], 1, args, 3, run, GGML_N_TASKS_MAX, &n);
}

// The work is cut into tiles by groups of heads: those that share a kv head, or fewer where a group is too
// large for one pass or there are more threads than groups.
void Attention::run(ggml_tensor * dst, int, int nth, void * data) {
    Node & node = *(Node *) data;
    const ggml_tensor * q = dst->src[0], * k = dst->src[1], * v = dst->src[2];
    attention_job job = {};
    job.q = (const char *) q->data;
    job.q_row = q->nb[1];
    job.q_head = q->nb[2];
    job.k = (const char *) k->data;
    job.k_cell = k->nb[1];
    job.k_head = k->nb[2];
    job.v = (const char *) v->data;
    job.v_cell = v->nb[1];
    job.v_head = v->nb[2];
    job.out = (char *) dst->data;
    job.out_row = dst->nb[2];
    job.out_head = dst->nb[1];
    job.head_size = (int) q->ne[0];
    job.heads = (int) q->ne[2];
    job.kv_heads = (int) k->ne[2];
    job.scale = node.scale;

    const std::vector<attention_tile> & tiles = node.attention->tiles;
    const int group = job.heads/job.kv_heads;
    int heads = std::min(group, (int) ATTENTION_QUERIES);
    while (heads > 1 && (int) tiles.size()*job.heads/heads < nth) {
        heads = (heads + 1)/2;
    }
    const int pieces = (group + heads - 1)/heads, items = (int) tiles.size()*job.kv_heads*pieces;
    attend_function * attend = attend_now();
    for (int i; (i = node.next.fetch_add(1, std::memory_order_relaxed)) < items;) {
        const int piece = i % pieces, kv = i/pieces % job.kv_heads;
        attend(job, tiles[(size_t) (i/pieces/job.kv_heads)], kv*group + piece*heads, std::min(heads, group - piece*heads));
    }
}

// The graph's input of a plain KV cache, where it has one.
static const llm_graph_input_attn_kv * kv_input(const llm_graph_params & params) {
    for (const llm_graph_input_ptr & input : params.res->inputs) {
        if (auto * kv = dynamic_cast<const llm_graph_input_attn_kv *>(input.get())) {
            return kv;
        }
    }
    return nullptr;
}

ggml_tensor * Builder::attend(ggml_context * ctx, ggml_tensor * q, ggml_tensor * k, ggml_tensor * v, float scale) {
    const llama_hparams & h = model.handle->hparams;
    const bool fits = cells && !on_device(k) && !model.targets.empty() && h.swa_type == LLAMA_SWA_TYPE_NONE && h.f_max_alibi_bias == 0 && !h.attn_soft_cap
        && q->type == GGML_TYPE_F32 && k->type == GGML_TYPE_F16 && v->type == GGML_TYPE_F16
        && q->ne[3] == 1 && q->ne[0] == k->ne[0] && q->ne[0] == v->ne[0] && q->ne[0] % 16 == 0 && q->ne[0] <= ATTENTION_HEAD_SIZE
        && q->nb[0] == sizeof(float) && k->nb[0] == sizeof(ggml_fp16_t) && v->nb[0] == sizeof(ggml_fp16_t);
    if (!fits) {
        return nullptr;
    }
    if (!attention) {
        const llm_graph_input_attn_kv * input = kv_input(params);
        if (!input) {
            return nullptr;
        }
        attention = std::make_unique<Attention>(*cells, input->self_k_idxs);
    }
    return attention->node(ctx, q, k, v, scale);
}

// Our input comes last: it reads what llama.cpp's has set.
void Builder::finish() {
    if (attention) {
        params.res->add_input(std::move(attention));
    }
    if (hidden) {
        HiddenNode::add(std::make_unique<HiddenNode>(*hidden), *params.res);
    }
    if (reduction) {
        reduction->add(*params.res, ggml_backend_buft_get_device(ggml_backend_buffer_get_type(model.targets[(size_t) model.head].weight->buffer)));
    }
    if (graphs) {
        graphs->reusable = true;
    }
}

} // namespace lorikeet

using namespace lorikeet;

extern "C" {
ggml_tensor * __real_ggml_flash_attn_ext(ggml_context * ctx, ggml_tensor * q, ggml_tensor * k, ggml_tensor * v, ggml_tensor * mask,
                                         float scale, float max_bias, float logit_softcap);
void __real_ggml_flash_attn_ext_add_sinks(ggml_tensor * a, ggml_tensor * sinks);
void __real_ggml_flash_attn_ext_set_prec(ggml_tensor * a, ggml_prec precision);
void __real__ZNK22llama_kv_cache_context17set_input_kq_maskEP11ggml_tensorPK12llama_ubatchb(
    const llama_kv_cache_context * self, ggml_tensor * mask, const llama_ubatch * ubatch, bool causal);
}

extern "C" ggml_tensor * __wrap_ggml_flash_attn_ext(ggml_context * ctx, ggml_tensor * q, ggml_tensor * k, ggml_tensor * v, ggml_tensor * mask,
                                                    float scale, float max_bias, float logit_softcap) {
    Builder * b = Builder::current();
    ggml_tensor * ours = b ? b->attend(ctx, q, k, v, scale) : nullptr;
    return ours ? ours : __real_ggml_flash_attn_ext(ctx, q, k, v, mask, scale, max_bias, logit_softcap);
}

// llama.cpp says these of every attention it has made; of ours there is nothing to say: the architectures it
// runs for have no sinks, and its sums are floats.
extern "C" void __wrap_ggml_flash_attn_ext_add_sinks(ggml_tensor * a, ggml_tensor * sinks) {
    if (a->op != GGML_OP_CUSTOM) {
        __real_ggml_flash_attn_ext_add_sinks(a, sinks);
    }
}

extern "C" void __wrap_ggml_flash_attn_ext_set_prec(ggml_tensor * a, ggml_prec precision) {
    if (a->op != GGML_OP_CUSTOM) {
        __real_ggml_flash_attn_ext_set_prec(a, precision);
    }
}

// A mask without memory is one that no node of the graph reads.
extern "C" void __wrap__ZNK22llama_kv_cache_context17set_input_kq_maskEP11ggml_tensorPK12llama_ubatchb(
    const llama_kv_cache_context * self, ggml_tensor * mask, const llama_ubatch * ubatch, bool causal) {
    if (mask->buffer) {
        __real__ZNK22llama_kv_cache_context17set_input_kq_maskEP11ggml_tensorPK12llama_ubatchb(self, mask, ubatch, causal);
    }
}
