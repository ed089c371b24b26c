#include "graph.h"
#include "ggml-impl.h"
#include <string.h>
#include <string>

namespace lq {

Graph::Graph(ggml_backend_t b, const WeightReader & w, size_t nodes) : backend(b), reader(w) {
    // Every node is at most an operation and a view of its source.
    const ggml_init_params params = {nodes*ggml_tensor_overhead() + ggml_graph_overhead_custom(nodes, false), nullptr, true};
    context.reset(ggml_init(params));
    if (!context) {
        throw std::bad_alloc();
    }
    graph = ggml_new_graph_custom(context.get(), nodes, false);
}

ggml_tensor * Graph::input(ggml_type type, int64_t ne0, int64_t ne1, std::function<void(void *)> fill) {
    ggml_tensor * t = ggml_new_tensor_2d(ctx(), type, ne0, ne1);
    ggml_set_input(t);
    inputs.emplace_back(t, std::move(fill));
    return t;
}

void Graph::output(ggml_tensor * t, std::function<void(const void *)> take) {
    ggml_set_output(t);
    outputs.emplace_back(t, std::move(take));
}

ggml_tensor * Graph::add(ggml_tensor * t) {
    if (!has(t)) {
        std::string of;
        for (const ggml_tensor * s : t->src) {
            of += s ? std::string(of.empty() ? "" : ", ") + ggml_type_name(s->type) + " of " + std::to_string(s->ne[0]) + " by " + std::to_string(s->ne[1]) : "";
        }
        throw Error{LQ_INVALID, std::string("training on ") + ggml_backend_name(backend) + " needs the operation " + ggml_op_desc(t) + " for " + of +
            ", which this device does not have"};
    }
    ggml_build_forward_expand(graph, t);
    return t;
}

ggml_tensor * Graph::view(ggml_tensor * flat, size_t at, int64_t n0, int64_t n1) {
    const size_t size = ggml_type_size(flat->type);
    return add(ggml_view_2d(ctx(), flat, n0, n1, n0*size, at*size));
}

ggml_tensor * Graph::view(ggml_tensor * flat, size_t at, int64_t n0, int64_t n1, int64_t n2) {
    const size_t size = ggml_type_size(flat->type);
    return add(ggml_view_3d(ctx(), flat, n0, n1, n2, n0*size, n0*n1*size, at*size));
}

ggml_tensor * Graph::part(ggml_tensor * a, int64_t from, int64_t n) {
    return add(ggml_view_3d(ctx(), a, a->ne[0], n, a->ne[2], a->nb[1], a->nb[2], from*a->nb[1]));
}

ggml_tensor * Graph::norm(ggml_tensor * x, ggml_tensor * w, float eps) { return mul(add(ggml_rms_norm(ctx(), x, eps)), w); }

// With y = x/rms(x) and d = dy w: dx = (d - y mean(y d))/rms(x). RMS_NORM_BACK must not write over its first operand, which
// the allocator would let it do: ggml's loops for the CPU read it after they wrote. An output is never written over.
ggml_tensor * Graph::norm_back(ggml_tensor * dy, ggml_tensor * x, ggml_tensor * w, float eps) {
    ggml_tensor * d = mul(dy, w);
    ggml_tensor * fused = ggml_rms_norm_back(ctx(), d, x, eps);
    if (has(fused)) {
        ggml_set_output(d);
        return add(fused);
    }
    const float n = (float) x->ne[0];
    ggml_tensor * squares = add(ggml_sum_rows(ctx(), add(ggml_sqr(ctx(), x))));
    ggml_tensor * rms = add(ggml_sqrt(ctx(), add(ggml_scale_bias(ctx(), squares, 1/n, eps))));
    ggml_tensor * y = add(ggml_div(ctx(), x, rms));
    ggml_tensor * mean = scaled(add(ggml_sum_rows(ctx(), mul(y, d))), 1/n);
    return add(ggml_div(ctx(), add(ggml_sub(ctx(), d, mul(y, mean))), rms));
}

size_t Graph::buffer_bytes() const {
    AllocatorPtr allocator(ggml_gallocr_new(ggml_backend_get_default_buffer_type(backend)));
    size_t bytes = 0;
    ggml_gallocr_reserve_n_size(allocator.get(), graph, nullptr, nullptr, &bytes);
    return bytes;
}

void Graph::reserve(ggml_gallocr_t allocator) {
    if (!ggml_gallocr_reserve(allocator, graph)) {
        throw Error{LQ_MEMORY, "training computes in " + std::to_string((buffer_bytes() >> 20) + 1) + " MiB, which the device " + ggml_backend_name(backend) +
            " does not have"};
    }
}

void Graph::allocate(ggml_gallocr_t allocator) {
    if (!ggml_gallocr_alloc_graph(allocator, graph)) {
        throw Error{LQ_MEMORY, std::string(ggml_backend_name(backend)) + " has not the memory for a step of training"};
    }
    std::vector<uint8_t> bytes;
    for (auto & [t, fill] : inputs) {
        if (t->buffer) { // an input that nothing reads has no memory
            bytes.resize(ggml_nbytes(t));
            fill(bytes.data());
            ggml_backend_tensor_set(t, bytes.data(), 0, bytes.size());
        }
    }
}

double operations_of(const ggml_tensor * t) {
    if (t->op == GGML_OP_MUL_MAT) {
        return 2.0*t->src[0]->ne[0]*ggml_nelements(t);
    }
    return t->op == GGML_OP_VIEW || t->op == GGML_OP_RESHAPE || t->op == GGML_OP_PERMUTE || t->op == GGML_OP_TRANSPOSE ? 0 : 16.0*ggml_nelements(t);
}

int Graph::divide(double operations) {
    ends.clear();
    double sum = 0;
    const int n = ggml_graph_n_nodes(graph);
    for (int i = 0; i < n; i++) {
        const double next = operations_of(ggml_graph_node(graph, i));
        if (sum > 0 && sum + next > operations) {
            ends.push_back(i);
            sum = 0;
        }
        sum += next;
    }
    ends.push_back(n);
    return (int) ends.size();
}

void Graph::run(int part) {
    ggml_cgraph piece = ggml_graph_view(graph, part ? ends[part - 1] : 0, ends[part]);
    const ggml_status status = ggml_backend_graph_compute(backend, &piece);
    if (status != GGML_STATUS_SUCCESS) {
        throw Error{status == GGML_STATUS_ALLOC_FAILED ? LQ_MEMORY : LQ_FAILED,
            std::string("a step of training on ") + ggml_backend_name(backend) + " ended with: " + ggml_status_to_string(status)};
    }
}

void Graph::finish() {
    std::vector<uint8_t> bytes;
    for (auto & [t, take] : outputs) {
        bytes.resize(ggml_nbytes(t));
        ggml_backend_tensor_get(t, bytes.data(), 0, bytes.size());
        take(bytes.data());
    }
}

} // namespace lq
