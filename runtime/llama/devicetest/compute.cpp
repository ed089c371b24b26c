// The queue of a back end, and graphs in it. A graph is copied when it is given, as a GPU's commands are recorded; the copy's
// tensors have the addresses of the data, and ggml's CPU back end computes them.
#include "compute.h"
#include "count.h"
#include "halves.h"
#include "iq4nl.h"
#include "memory.h"
#include "misread.h"
#include "ggml-cpu.h"
#include "ggml-impl.h"
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

namespace devicetest {

namespace {

struct Queue {
    Queue() : cpu(ggml_backend_cpu_init()) { ggml_backend_cpu_set_n_threads(cpu, 1); }
    ~Queue() { ggml_backend_free(cpu); }
    Queue(const Queue &) = delete;
    Queue & operator=(const Queue &) = delete;

    void run() {
        for (; !work.empty(); work.pop_front()) {
            work.front()();
        }
    }

    const ggml_backend_t cpu;
    std::deque<std::function<void()>> work;
    bool computes = false; // it was given a graph
};

Queue * queue_of(ggml_backend_t b) { return (Queue *) b->context; }

bool is_view(const ggml_tensor * t) {
    return t->op == GGML_OP_NONE || t->op == GGML_OP_RESHAPE || t->op == GGML_OP_VIEW || t->op == GGML_OP_PERMUTE || t->op == GGML_OP_TRANSPOSE;
}

// A graph over the data of the tensors.
class Recorded {
public:
    explicit Recorded(const ggml_cgraph * graph) {
        for (int i = 0; i < graph->n_nodes; i++) {
            if (!is_view(graph->nodes[i])) { // nothing to compute; those of tensors on other devices may be among them
                nodes.push_back(node(graph->nodes[i]));
            }
        }
    }

    void compute(ggml_backend_t cpu) {
        for (const ggml_tensor * n : nodes) {
            count(n);
        }
        size_t begin = 0;
        for (size_t i = 0; i < nodes.size(); i++) {
            const bool decoded = reads_codebook(nodes[i]);
            if (decoded || rounds_to_halves(nodes[i])) {
                compute(cpu, begin, i);
                compute_with(cpu, i, decoded ? 0 : 1, decoded ? decode : round_to_halves);
                begin = i + 1;
            }
        }
        compute(cpu, begin, nodes.size());
    }

private:
    void compute(ggml_backend_t cpu, size_t begin, size_t end) {
        ggml_cgraph graph = {};
        graph.nodes = nodes.data() + begin;
        graph.n_nodes = graph.size = (int) (end - begin);
        if (begin < end && ggml_backend_graph_compute(cpu, &graph) != GGML_STATUS_SUCCESS) {
            GGML_ABORT("%s: a graph of %d nodes could not be computed", NAME, graph.n_nodes);
        }
    }

    // A node of which a source is changed for it alone: the device has no second copy of its weights.
    void compute_with(ggml_backend_t cpu, size_t i, int source, void (*change)(ggml_tensor &, std::vector<float> &)) {
        ggml_tensor changed = *nodes[i]->src[source];
        std::vector<float> memory;
        change(changed, memory);
        ggml_tensor * original = nodes[i]->src[source];
        nodes[i]->src[source] = &changed;
        compute(cpu, i, i + 1);
        nodes[i]->src[source] = original;
    }

    // A copy with the address of the data. It knows no buffer, and what it is a view of or computed from is nothing that
    // whoever reads it needs.
    ggml_tensor * data(const ggml_tensor * t) {
        ggml_tensor *& copy = copies[t];
        if (!copy) {
            tensors.push_back(*t);
            copy = &tensors.back();
            copy->data = data_of(t);
            copy->buffer = nullptr;
            copy->view_src = nullptr;
            memset(copy->src, 0, sizeof copy->src);
        }
        return copy;
    }

    ggml_tensor * node(const ggml_tensor * t) {
        ggml_tensor * copy = data(t);
        for (int i = 0; i < GGML_MAX_SRC; i++) {
            copy->src[i] = t->src[i] ? data(t->src[i]) : nullptr;
        }
        return copy;
    }

    std::deque<ggml_tensor> tensors;
    std::unordered_map<const ggml_tensor *, ggml_tensor *> copies;
    std::vector<ggml_tensor *> nodes;
};

const char * name(ggml_backend_t) { return NAME; }

void free_backend(ggml_backend_t b) {
    delete queue_of(b);
    delete b;
}

void synchronize(ggml_backend_t b) {
    transfers.waits += queue_of(b)->computes;
    queue_of(b)->run();
}

ggml_status compute(ggml_backend_t b, ggml_cgraph * graph, int) {
    Queue * queue = queue_of(b);
    for (int i = 0; i < graph->n_nodes; i++) {
        const ggml_tensor * node = graph->nodes[i];
        const char * why = is_view(node) || !stands_for_vulkan() ? nullptr : misread(node);
        if (why) {
            fprintf(stderr, "%s: Vulkan would compute %s (%s) wrongly: %s\n", NAME, ggml_op_name(node->op), node->name, why);
            return GGML_STATUS_FAILED;
        }
    }
    queue->computes = true;
    auto recorded = std::make_shared<Recorded>(graph);
    queue->work.push_back([queue, recorded] { recorded->compute(queue->cpu); });
    return GGML_STATUS_SUCCESS;
}

void set_async(ggml_backend_t b, ggml_tensor * t, const void * from, size_t offset, size_t size) {
    char * to = data_of(t) + offset;
    transfers.async++;
    queue_of(b)->work.push_back([=] { memcpy(to, from, size); });
}

void get_async(ggml_backend_t b, const ggml_tensor * t, void * to, size_t offset, size_t size) {
    const char * from = data_of(t) + offset;
    queue_of(b)->work.push_back([=] { memcpy(to, from, size); });
}

ggml_guid GUID = {0x6c, 0x6f, 0x72, 0x69, 0x6b, 0x65, 0x65, 0x74, 0x2d, 0x74, 0x65, 0x73, 0x74, 0x67, 0x70, 0x75};

} // namespace

ggml_backend_t new_backend(ggml_backend_dev_t device, const char *) {
    ggml_backend_i functions = {};
    functions.get_name = name;
    functions.free = free_backend;
    functions.set_tensor_async = stands_for_vulkan() ? nullptr : set_async;
    functions.get_tensor_async = get_async;
    functions.synchronize = synchronize;
    functions.graph_compute = compute;
    return new ggml_backend{&GUID, functions, device, new Queue()};
}

} // namespace devicetest
