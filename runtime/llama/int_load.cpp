// Integer weights at load. Output heads come in Q8_0 or Q6_K, whatever the layers have, and ggml multiplies them a
// row at a time: with sixteen rows the head would be a quarter of a decode.
#include "model.h"
#include <cstring>

namespace lorikeet {

// The kernels' name of a type; false where they have none.
static bool int_format(ggml_type type, int * format) {
    *format = type == GGML_TYPE_Q6_K ? LK_Q6_K : LK_Q8_0;
    return type == GGML_TYPE_Q6_K || type == GGML_TYPE_Q8_0;
}

// A tied head's memory is also the embedding's, of which get_rows then reads the rows it needs from the file.
bool mapped(const ggml_tensor * w) { return strcmp(ggml_backend_buffer_name(w->buffer), "CPU_Mapped") == 0; }

bool original_read(const Model & m, const ggml_tensor * w) {
    const ggml_tensor * embedding = m.handle->tok_embd;
    return !mapped(w) && embedding && embedding->data == w->data;
}

void pack_integers(Model & m) {
    for (const auto & [tensor, target] : m.by_weight) {
        int format;
        if (!int_format(tensor->type, &format) || !tensor->buffer || !ggml_backend_buffer_is_host(tensor->buffer)) {
            continue;
        }
        if (!mapped(tensor) && tensor != m.handle->output) {
            continue; // ggml has kernels of its own for it
        }
        IntWeight packed(lk_int_pack(tensor->data, tensor->nb[1], (int) tensor->ne[0], (int) tensor->ne[1], format));
        if (!packed) {
            throw std::bad_alloc();
        }
        m.integers[tensor] = std::move(packed);
        if (!original_read(m, tensor)) {
            drop_pages(tensor->data, ggml_nbytes(tensor)); // serving and training read the packed weights alone
        }
    }
}

} // namespace lorikeet
