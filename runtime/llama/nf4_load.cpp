// NF4 at load: every IQ4_NL tensor of a marked file is packed into the kernels' layout.
#include "model.h"
#include <sys/mman.h>
#include <unistd.h>

namespace lorikeet {

void drop_pages(void * data, size_t size) {
    const uintptr_t page = (uintptr_t) sysconf(_SC_PAGESIZE), begin = (uintptr_t) data, end = begin + size;
    const uintptr_t first = (begin + page - 1)/page*page, last = end/page*page;
    if (first < last) {
        madvise((void *) first, last - first, MADV_DONTNEED);
    }
}

void pack_nf4(Model & m) {
    for (const auto & [name, w] : m.handle->tensors_by_name) {
        if (w->type != GGML_TYPE_IQ4_NL) {
            continue;
        }
        if (!m.by_weight.count(w) || w == m.embedding_table) {
            throw std::runtime_error("tensor " + name + " is NF4, which this version runs in the linear layers of "
                "dense llama, mistral, qwen2 and qwen3 models only");
        }
        if (!w->buffer || !ggml_backend_buffer_is_host(w->buffer)) {
            throw std::runtime_error("tensor " + name + " is NF4 and not in the memory of the CPU");
        }
        Nf4Weight packed(lk_nf4_pack(w->data, w->nb[1], (int) w->ne[0], (int) w->ne[1], m.nf4_mode));
        if (!packed) {
            throw std::bad_alloc();
        }
        m.nf4[w] = std::move(packed);
        drop_pages(w->data, ggml_nbytes(w)); // nothing reads them: the graph never does
    }
}

} // namespace lorikeet
