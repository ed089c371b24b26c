#include "graph_trainer.h"
#include <algorithm>
#include <chrono>
#include <string.h>

namespace lq {

namespace {

// Operations of a part of a graph: what a GPU does in less than a millisecond.
constexpr double PART = 2e10;
// A slice runs parts for about this long.
constexpr std::chrono::microseconds SLICE{1500};

} // namespace

GraphTrainer::GraphPtr GraphTrainer::graph() const {
    // A layer has about 500 nodes, and 60 for every range of queries; a head about 30 for every part that is decoded at a time.
    return std::make_unique<Graph>(graphs.backend.get(), reader, 4096 + 80*ranges.size());
}

void GraphTrainer::schedule_graph(std::function<GraphPtr()> build) {
    struct Run {
        GraphPtr graph;
        int parts = 0, next = 0;
    };
    auto run = std::make_shared<Run>();
    schedule.add_repeated([this, run, build = std::move(build)] {
        const auto start = std::chrono::steady_clock::now();
        if (!run->graph) {
            run->graph = build();
            run->parts = run->graph->divide(options.slice_flops > 0 ? options.slice_flops : PART);
            run->graph->allocate(allocator);
        }
        do {
            run->graph->run(run->next++);
        } while (run->next < run->parts && std::chrono::steady_clock::now() - start < SLICE);
        if (run->next < run->parts) {
            return false;
        }
        run->graph->finish();
        run->graph.reset();
        return true;
    });
}

void GraphTrainer::upload(const Lora & l) {
    if (there(l).a) {
        ggml_backend_tensor_set(there(l).a, l.a, 0, (size_t) l.n_in*l.rank*sizeof(float));
        ggml_backend_tensor_set(there(l).b, l.b, 0, (size_t) l.n_out*l.rank*sizeof(float));
    }
}

// Copies the parameters to the device, as many modules in a slice as there is time for.
void GraphTrainer::schedule_upload() {
    schedule.add_repeated([this, next = (size_t) 0]() mutable {
        const auto start = std::chrono::steady_clock::now();
        while (!uploaded && next < loras.size() && std::chrono::steady_clock::now() - start < SLICE) {
            upload(loras[next++]);
        }
        if (!uploaded && next == loras.size()) {
            for (const OwnNorm & o : own_norms) {
                ggml_backend_tensor_set(norms_there[&o - own_norms.data()], o.w, 0, o.n*sizeof(float));
            }
            uploaded = true;
        }
        return uploaded;
    });
}

// Positions and masks: 0 where a query sees a key, else minus infinity.
void GraphTrainer::upload_batch(const std::vector<int> & pos) {
    ggml_backend_tensor_set(positions, pos.data(), 0, pos.size()*sizeof(int));
    const uint16_t seen = 0, hidden = 0xfc00; // in half precision
    uint16_t * mask = (uint16_t *) staging;
    for (const QueryRange & r : ranges) {
        for (int t = r.begin; t < r.end; t++) {
            uint16_t * row = mask + r.mask + (size_t) (t - r.begin)*r.keys();
            const int from = t - pos[t]; // where its sequence begins
            for (int key = r.first; key < r.end; key++) {
                row[key - r.first] = key >= from && key <= t ? seen : hidden;
            }
        }
    }
    const QueryRange & last = ranges.back();
    ggml_backend_tensor_set(masks, mask, 0, (last.mask + (size_t) last.queries()*last.keys())*sizeof(uint16_t));
}

// The embedding's rows, where the CPU cannot read them.
GraphTrainer::GraphPtr GraphTrainer::embedding_graph() {
    GraphPtr g = graph();
    ggml_tensor * at = g->input(GGML_TYPE_I32, T, 1, [this](void * to) { std::copy(token.begin(), token.end(), (int32_t *) to); });
    ggml_tensor * rows = g->add(ggml_get_rows(g->ctx(), graphs.embed, at));
    g->output(rows, [this](const void * from) { memcpy(staging, from, (size_t) T*model.n_embd*sizeof(float)); });
    return g;
}

void GraphTrainer::schedule_embedding() {
    if (!model.embed.kind) {
        schedule_graph([this] { return embedding_graph(); });
    }
    schedule.add([this] {
        if (model.embed.kind) {
            embed(staging);
        } else {
            add_embedding_adapter(staging);
            add_noise(staging);
        }
        ggml_backend_tensor_set(residuals[0], staging, 0, (size_t) T*model.n_embd*sizeof(float));
    });
}

void GraphTrainer::schedule_batch(const std::vector<int> & pos) {
    set_query_ranges();
    schedule_upload();
    schedule.add([this, pos] { upload_batch(pos); });
    if (mode != LQ_FURTHER && !base) {
        schedule_norms();
    }
    if (mode == LQ_FIRST) {
        schedule_zero(arrays.gradients, parameters);
    }
    schedule_embedding();
    for (int i = 0; i < model.n_layers; i++) {
        schedule_graph([this, i] { return forward_graph(i); });
    }
    schedule_loss(mode != LQ_EVAL);
    if (mode == LQ_EVAL || labelled.empty()) {
        return;
    }
    for (int i = model.n_layers - 1; i >= first_layer; i--) {
        schedule_graph([this, i] { return backward_graph(i, i > first_layer || trains(LQ_EMBED)); });
    }
    if (trains(LQ_EMBED)) {
        schedule.add([this] {
            const size_t n = (size_t) T*model.n_embd;
            ggml_backend_tensor_get(grad, staging, 0, n*sizeof(float));
            std::for_each(staging, staging + n, [this](float & g) { g *= inv_norm; });
            embed_backward(staging);
        });
    }
}

} // namespace lq
