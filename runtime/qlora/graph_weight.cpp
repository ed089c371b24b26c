// Weights as floats, by whatever operations a back end has. CUDA of the pinned ggml has CPY and GET_ROWS for few quantized
// types, but products with all: there the product with the identity is the weight.
#include "graph.h"
#include <algorithm>
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

size_t band_floats(int64_t n_in) { return 2*n_in + (size_t) BAND_ROWS*(n_in + 1); }

int64_t band_inputs(const ggml_tensor * band) { return (ggml_nelements(band) - BAND_ROWS)/(BAND_ROWS + 2); }

// Row i of the view that begins at element n_in - j has its one at column j + i: the ones lie at n_in + i*(n_in + 1), for
// rows of n_in floats.
void fill_band(ggml_tensor * band) {
    const int64_t n_in = band_inputs(band);
    std::vector<float> x(ggml_nelements(band), 0.0f);
    for (int64_t i = 0; i < BAND_ROWS; i++) {
        x[n_in + i*(n_in + 1)] = BAND_ONE;
    }
    ggml_backend_tensor_set(band, x.data(), 0, x.size()*sizeof(float));
}

// The products with the identity, BAND_ROWS inputs at a time, put together to (rows, n_in) in the scratch.
ggml_tensor * Graph::decoded_product(ggml_tensor * w, bool wanted_transposed) {
    const int64_t n_in = w->ne[0], rows = w->ne[1];
    if (!reader.band) {
        throw Error{LQ_FAILED, "a weight is to be decoded in a way that nothing was allocated for"};
    }
    const int64_t width = band_inputs(reader.band);
    for (int64_t at = 0; at < n_in; at += BAND_ROWS) {
        const int64_t n = std::min((int64_t) BAND_ROWS, n_in - at);
        ggml_tensor * identity = add(ggml_view_2d(ctx(), reader.band, n_in, n, width*sizeof(float), (width - at)*sizeof(float)));
        copy(scaled(mul_mat(w, identity), 1/BAND_ONE), view(reader.scratch, at*rows, rows, n));
    }
    ggml_tensor * whole = view(reader.scratch, 0, rows, n_in);
    return wanted_transposed ? whole : transposed(whole);
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
