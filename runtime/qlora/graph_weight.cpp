// Weights as floats, by whatever operations a back end has. CUDA of the pinned ggml has CPY and GET_ROWS for few quantized
// types, but products with all: there the product with the identity is the weight.
#include "graph.h"
#include <string>
#include <vector>

namespace lq {

namespace {

// Rows of a weight: a view, whose rows lie one after the other.
ggml_tensor * rows_of(ggml_context * c, ggml_tensor * w, int64_t row, int64_t rows) {
    return rows == w->ne[1] ? w : ggml_view_2d(c, w, w->ne[0], rows, w->nb[1], row*w->nb[1]);
}

} // namespace

Decoding decoding_of(ggml_backend_t backend, ggml_tensor * w) {
    if (w->type == GGML_TYPE_F32) {
        return Decoding::none;
    }
    const ggml_init_params params = {8*ggml_tensor_overhead(), nullptr, true};
    ContextPtr c(ggml_init(params));
    if (!c) {
        throw std::bad_alloc();
    }
    if (ggml_backend_supports_op(backend, ggml_cast(c.get(), w, GGML_TYPE_F32))) {
        return Decoding::cast;
    }
    ggml_tensor * iota = ggml_new_tensor_1d(c.get(), GGML_TYPE_I32, w->ne[1]);
    return ggml_backend_supports_op(backend, ggml_get_rows(c.get(), w, iota)) ? Decoding::rows : Decoding::product;
}

void fill_identity(ggml_tensor * identity) {
    std::vector<float> x((size_t) IDENTITY*IDENTITY, 0.0f);
    for (size_t i = 0; i < IDENTITY; i++) {
        x[i*(IDENTITY + 1)] = IDENTITY_ONE;
    }
    ggml_backend_tensor_set(identity, x.data(), 0, x.size()*sizeof(float));
}

// Runs of IDENTITY weights, wherever rows begin, are the rows of the product's first operand: a weight costs 2*IDENTITY operations.
ggml_tensor * Graph::decoded_product(ggml_tensor * w, bool wanted_transposed) {
    const int64_t n_in = w->ne[0], rows = w->ne[1];
    if (n_in*rows % IDENTITY || IDENTITY % ggml_blck_size(w->type) || !reader.identity) {
        throw Error{LQ_INVALID, std::string("training on ") + ggml_backend_name(backend) + " cannot decode " + w->name + " of type " + ggml_type_name(w->type) +
            ", which has " + std::to_string(n_in) + " by " + std::to_string(rows) + " weights, no multiple of " + std::to_string((int) IDENTITY)};
    }
    ggml_tensor * runs = reshaped(w, IDENTITY, n_in*rows/IDENTITY);
    ggml_tensor * y = scaled(mul_mat(runs, reader.identity), 1/IDENTITY_ONE); // (runs, IDENTITY)
    if (wanted_transposed && n_in % IDENTITY == 0) { // (runs of a row, rows, IDENTITY) to (rows, IDENTITY, runs of a row)
        ggml_tensor * turned = add(ggml_permute(ctx(), reshaped(y, n_in/IDENTITY, rows, IDENTITY), 2, 0, 1, 3));
        return reshaped(add(ggml_cont(ctx(), turned)), rows, n_in);
    }
    ggml_tensor * floats = reshaped(transposed(y), n_in, rows);
    return wanted_transposed ? transposed(floats) : floats;
}

ggml_tensor * Graph::weight(ggml_tensor * w, int64_t row, int64_t rows, bool wanted_transposed, ggml_type type) {
    ggml_tensor * part = rows_of(ctx(), w, row, rows);
    ggml_tensor * floats = nullptr;
    if (w->type == type && !wanted_transposed) {
        return part;
    }
    switch (decoding_of(backend, part)) {
    case Decoding::none:
        floats = part;
        break;
    case Decoding::cast:
        floats = add(ggml_cast(ctx(), part, GGML_TYPE_F32));
        break;
    case Decoding::rows: {
        ggml_tensor * iota = input(GGML_TYPE_I32, rows, 1, [rows](void * p) {
            for (int64_t i = 0; i < rows; i++) {
                ((int32_t *) p)[i] = (int32_t) i;
            }
        });
        floats = add(ggml_get_rows(ctx(), part, iota));
        break;
    }
    case Decoding::product:
        floats = decoded_product(part, wanted_transposed);
        return type == GGML_TYPE_F32 ? floats : add(ggml_cast(ctx(), floats, type));
    }
    floats = wanted_transposed ? transposed(floats) : floats;
    return type == GGML_TYPE_F32 ? floats : add(ggml_cast(ctx(), floats, type));
}

} // namespace lq
