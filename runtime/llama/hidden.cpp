#include "hidden.h"
#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace lorikeet {

static uint64_t key(int32_t seq, int32_t pos) { return (uint64_t) (uint32_t) seq << 32 | (uint32_t) pos; }

void HiddenStates::begin(const ll_row * rows, int n) {
    places.clear();
    logits = false;
    for (int i = 0; i < n; i++) {
        logits |= rows[i].sampler || rows[i].scored;
        if (rows[i].hidden) {
            places.emplace(key(rows[i].seq, rows[i].pos), (int) places.size());
        }
    }
    values.assign(places.size()*width, 0);
}

int HiddenStates::place(int32_t seq, int32_t pos) const {
    const auto it = places.find(key(seq, pos));
    return it == places.end() ? -1 : it->second;
}

void HiddenNode::set_input(const llama_ubatch * ubatch) {
    rows.clear();
    for (uint32_t i = 0; i < ubatch->n_tokens; i++) {
        if (ubatch->output[i]) {
            rows.push_back(states.place(ubatch->seq_id[i][0], ubatch->pos[i]));
        }
    }
}

// dst is a single number that nothing reads: the node exists for what it copies.
void HiddenNode::copy(ggml_tensor * dst, int ith, int, void * node) {
    if (ith != 0) {
        return;
    }
    const HiddenNode & self = *(const HiddenNode *) node;
    const ggml_tensor * x = dst->src[0];
    const size_t width = self.states.width;
    for (size_t i = 0; i < std::min((size_t) x->ne[1], self.rows.size()); i++) {
        if (self.rows[i] >= 0) {
            memcpy(&self.states.values[(size_t) self.rows[i]*width], (const char *) x->data + i*x->nb[1], width*sizeof(float));
        }
    }
    *(float *) dst->data = 0;
}

static void compute_nothing(ggml_tensor *, int, int, void *) {}

ggml_tensor * no_logits(ggml_context * ctx, const ggml_tensor * head, ggml_tensor * x) {
    return ggml_custom_4d(ctx, GGML_TYPE_F32, head->ne[1], x->ne[1], 1, 1, &x, 1, compute_nothing, 1, nullptr);
}

void HiddenNode::add(std::unique_ptr<HiddenNode> node, llm_graph_result & graph) {
    ggml_tensor * x = graph.get_embd();
    if (!x || x->type != GGML_TYPE_F32 || x->nb[0] != sizeof(float) || (size_t) x->ne[0] != node->states.width) {
        throw std::runtime_error("the model's graph has no hidden state of " + std::to_string(node->states.width) + " numbers per token");
    }
    ggml_tensor * end = ggml_custom_4d(graph.get_ctx(), GGML_TYPE_F32, 1, 1, 1, 1, &x, 1, copy, 1, node.get());
    ggml_build_forward_expand(graph.get_gf(), end);
    graph.add_input(std::move(node));
}

} // namespace lorikeet
