// One ggml graph under construction, and its run: what a GPU computes of training in one go. Tensors are made in the order in
// which they are computed. Shapes in comments are ggml's, the fastest dimension first: x (n, T) is T rows of n.
#pragma once
#include "error.h"
#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml.h"
#include <functional>
#include <memory>
#include <vector>

namespace lq {

struct GgmlFree {
    void operator()(ggml_context * c) const { ggml_free(c); }
    void operator()(ggml_gallocr * g) const { ggml_gallocr_free(g); }
    void operator()(ggml_backend_buffer * b) const { ggml_backend_buffer_free(b); }
    void operator()(ggml_backend * b) const { ggml_backend_free(b); }
};
using ContextPtr = std::unique_ptr<ggml_context, GgmlFree>;
using AllocatorPtr = std::unique_ptr<ggml_gallocr, GgmlFree>;
using BufferPtr = std::unique_ptr<ggml_backend_buffer, GgmlFree>;
using BackendPtr = std::unique_ptr<ggml_backend, GgmlFree>;

// How a back end turns a weight into floats: as it is, by CPY, by GET_ROWS, or as the product with the identity.
enum class Decoding { none, cast, rows, product };

// Runs of as many weights are multiplied with the identity; the blocks of all of ggml's types divide it.
enum { IDENTITY = 256 };
// What stands for 1 in it: products that round it to 8 bits with a scale of their own hit it exactly.
constexpr float IDENTITY_ONE = 127;
void fill_identity(ggml_tensor * identity);

// How the weights of a graph are multiplied: decoded to `floats`, F32 or BF16. identity is (IDENTITY, IDENTITY), or NULL where no
// weight needs it.
struct WeightReader {
    ggml_type floats = GGML_TYPE_F32;
    ggml_tensor * identity = nullptr;
};

class Graph {
public:
    // With room for `nodes` tensors.
    Graph(ggml_backend_t backend, const WeightReader & weights, size_t nodes);
    ~Graph() = default;
    Graph(const Graph &) = delete;
    Graph & operator=(const Graph &) = delete;

    // A tensor that is filled before the graph runs; fill gets its bytes.
    ggml_tensor * input(ggml_type type, int64_t ne0, int64_t ne1, std::function<void(void *)> fill);
    // Calls take with the tensor's bytes when the graph has run.
    void output(ggml_tensor * t, std::function<void(const void *)> take);

    // Adds a tensor that ggml made. Throws an Error that names the operation where the back end does not have it.
    ggml_tensor * add(ggml_tensor * t);
    bool has(const ggml_tensor * t) const { return ggml_backend_supports_op(backend, t); }
    ggml_context * ctx() const { return context.get(); }

    ggml_tensor * mul_mat(ggml_tensor * a, ggml_tensor * b) { return add(ggml_mul_mat(ctx(), a, b)); } // (k, n), (k, m) -> (n, m)
    ggml_tensor * mul(ggml_tensor * a, ggml_tensor * b) { return add(ggml_mul(ctx(), a, b)); }
    ggml_tensor * sum(ggml_tensor * a, ggml_tensor * b) { return add(ggml_add(ctx(), a, b)); }
    ggml_tensor * scaled(ggml_tensor * a, float s) { return s == 1 ? a : add(ggml_scale(ctx(), a, s)); }
    ggml_tensor * contiguous(ggml_tensor * a) { return ggml_is_contiguous(a) ? a : add(ggml_cont(ctx(), a)); }
    ggml_tensor * transposed(ggml_tensor * a) { return add(ggml_cont(ctx(), add(ggml_transpose(ctx(), a)))); } // a copy
    ggml_tensor * swapped(ggml_tensor * a) { return add(ggml_cont(ctx(), add(ggml_permute(ctx(), a, 0, 2, 1, 3)))); } // dimensions 1 and 2
    ggml_tensor * reshaped(ggml_tensor * a, int64_t n0, int64_t n1) { return add(ggml_reshape_2d(ctx(), a, n0, n1)); }
    ggml_tensor * reshaped(ggml_tensor * a, int64_t n0, int64_t n1, int64_t n2) { return add(ggml_reshape_3d(ctx(), a, n0, n1, n2)); }
    void copy(ggml_tensor * from, ggml_tensor * to) { add(ggml_cpy(ctx(), from, to)); }
    // n floats of a flat tensor from element `at` on, as a matrix or as three dimensions.
    ggml_tensor * view(ggml_tensor * flat, size_t at, int64_t n0, int64_t n1);
    ggml_tensor * view(ggml_tensor * flat, size_t at, int64_t n0, int64_t n1, int64_t n2);
    // Positions [from, from + n) of the second dimension of a contiguous (n0, n1, n2).
    ggml_tensor * part(ggml_tensor * a, int64_t from, int64_t n);

    ggml_tensor * norm(ggml_tensor * x, ggml_tensor * w, float eps); // rms_norm(x) w
    ggml_tensor * norm_back(ggml_tensor * dy, ggml_tensor * x, ggml_tensor * w, float eps);
    ggml_tensor * silu_back(ggml_tensor * dy, ggml_tensor * x) { return add(ggml_silu_back(ctx(), dy, x)); }

    // Rows [row, row + rows) of the weight W (n_in, n_out), decoded: (n_in, rows), or transposed (rows, n_in).
    ggml_tensor * weight(ggml_tensor * w, int64_t row, int64_t rows, bool wanted_transposed, ggml_type type);
    ggml_tensor * weight(ggml_tensor * w, bool wanted_transposed) { return weight(w, 0, w->ne[1], wanted_transposed, reader.floats); }

    // The bytes of the compute buffer that it needs; none is allocated.
    size_t buffer_bytes() const;
    // Allocates as much.
    void reserve(ggml_gallocr_t allocator);
    // Gives every tensor its memory, then fills the inputs. Throws an Error where there is too little memory.
    void allocate(ggml_gallocr_t allocator);
    // The graph in parts of about `operations` each, cut at the same places whenever the graph is the same.
    int divide(double operations);
    void run(int part);
    void finish(); // hands out the outputs

private:
    ggml_tensor * decoded_product(ggml_tensor * w, bool wanted_transposed);

    ggml_backend_t backend;
    WeightReader reader;
    ContextPtr context;
    ggml_cgraph * graph;
    std::vector<std::pair<ggml_tensor *, std::function<void(void *)>>> inputs;
    std::vector<std::pair<ggml_tensor *, std::function<void(const void *)>>> outputs;
    std::vector<int> ends; // of the parts
};

// Which decoding a back end has for a weight; Decoding::product where it has no other.
Decoding decoding_of(ggml_backend_t backend, ggml_tensor * w);

double operations_of(const ggml_tensor * t); // about

// Whether products of floats with many rows keep the range of floats.
bool keeps_range(ggml_backend_t backend);

} // namespace lq
