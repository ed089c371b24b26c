// ggml's own code for the weight types that package quant has none for.
#include "call.h"
#include "ggml.h"

static const ggml_type_traits * traits(int type) {
    return type >= 0 && type < GGML_TYPE_COUNT ? ggml_get_type_traits((ggml_type) type) : nullptr;
}

int ll_codec(int type) {
    const ggml_type_traits * t = traits(type);
    if (!t || t->blck_size < 1) {
        return 0;
    }
    const bool written = t->from_float_ref && !ggml_quantize_requires_imatrix((ggml_type) type);
    return (t->to_float ? LL_DECODES : 0) | (written ? LL_ENCODES : 0);
}

void ll_decode(int type, const void * src, float * dst, int64_t n) { traits(type)->to_float(src, dst, n); }

void ll_encode(int type, const float * src, void * dst, int64_t n) {
    ggml_quantize_chunk((ggml_type) type, src, dst, 0, 1, n, nullptr);
}

int ll_valid(int type, const void * data, size_t bytes) { return ggml_validate_row_data((ggml_type) type, data, bytes); }
