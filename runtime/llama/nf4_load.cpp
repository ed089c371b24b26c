// NF4 at load: llama.cpp is told of tensors that it can take, then they are packed into the kernels' layout.
//
// A file carries NF4 in tensors of other types (quant/carrier.go). Blocks of 32 and of 64 have the shape and size of
// IQ4_NL's and MXFP4's, and llama.cpp loads them unread. With double quantization a tensor is a run of bytes to GGUF;
// the linker redirects the loader's gguf_init_from_file to us (the flag is in model.go), and what it reads of such a
// tensor becomes MXFP4 of the true shape. That is 3 % more bytes than there are: llama.cpp copies or maps them all
// the same, the tensor's own are the first of them, and the file has bytes behind its last tensor.
#include "codebook.h"
#include "gguf.h"
#include "model.h"
#include <cstring>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

extern "C" gguf_context * __real_gguf_init_from_file(const char * path, gguf_init_params params);
extern "C" size_t __real_gguf_get_tensor_offset(const gguf_context * file, int64_t tensor);

namespace lorikeet {

static thread_local const ll_load_options * loading = nullptr;

Nf4Load::Nf4Load(const ll_load_options & o) { loading = &o; }
Nf4Load::~Nf4Load() { loading = nullptr; }

// Gives a tensor of a header the shape that the model expects and a type of as many bits, or a few more.
static void reshape(ggml_tensor * t, const ll_nf4 & n) {
    t->type = n.converted ? GGML_TYPE_IQ4_NL : GGML_TYPE_MXFP4;
    t->ne[0] = n.n_in;
    t->ne[1] = n.n_out;
    t->ne[2] = t->ne[3] = 1;
    t->nb[0] = ggml_type_size(t->type);
    t->nb[1] = ggml_row_size(t->type, n.n_in);
    t->nb[2] = t->nb[3] = t->nb[1]*n.n_out;
}

void drop_pages(void * data, size_t size) {
    const uintptr_t page = (uintptr_t) sysconf(_SC_PAGESIZE), begin = (uintptr_t) data, end = begin + size;
    const uintptr_t first = (begin + page - 1)/page*page, last = end/page*page;
    if (first < last) {
        madvise((void *) first, last - first, MADV_DONTNEED);
    }
}

static void require_linear(const Model & m, const ggml_tensor * w) {
    if (!m.by_weight.count(w) || w == m.embedding_table) {
        throw std::runtime_error("tensor " + std::string(w->name) + " is NF4, which this version runs in the linear layers of "
            "dense llama, mistral, qwen2 and qwen3 models only");
    }
}

static ggml_backend_dev_t device_of(const ggml_tensor * w) { return ggml_backend_buft_get_device(ggml_backend_buffer_get_type(w->buffer)); }

// Which devices have NF4's codebook. Each is asked once.
class Codebooks {
public:
    bool nf4(const ggml_tensor * w) {
        const ggml_backend_dev_t device = device_of(w);
        const auto found = known.find(device);
        return found != known.end() ? found->second : known.emplace(device, has_nf4_codebook(device)).first->second;
    }

private:
    std::unordered_map<ggml_backend_dev_t, bool> known;
};

static void pack(Model & m, const ggml_tensor * w, const ll_nf4 & n) {
    const std::string name = "tensor " + std::string(n.name);
    if (!w->buffer || n.converted) { // converted: its bytes were not loaded
        throw std::runtime_error(name + " is NF4 and could not be put into the memory of the device: its back end has no product with IQ4_NL blocks");
    }
    const size_t bytes = lk_nf4_source_bytes(n.kind, n.n_in, n.n_out);
    if (w->ne[0] != n.n_in || w->ne[1] != n.n_out || bytes > ggml_nbytes(w)) {
        throw std::runtime_error(name + " is NF4 of another shape than the model's");
    }
    const int bad = lk_nf4_bad_row(n.kind, w->data, n.n_in, n.n_out);
    if (bad >= 0) {
        throw std::runtime_error(name + " has a scale that is infinite or not a number, in row " + std::to_string(bad));
    }
    Nf4Weight packed(lk_nf4_pack(n.kind, w->data, n.n_in, n.n_out, m.nf4_mode));
    if (!packed) {
        throw std::bad_alloc();
    }
    m.nf4[w] = std::move(packed);
    drop_pages(w->data, bytes); // nothing reads them again: the graph has our product instead
}

void pack_nf4(Model & m, const ll_load_options & o) {
    std::unordered_map<std::string, const ll_nf4 *> named;
    for (int i = 0; i < o.n_nf4; i++) {
        named[o.nf4[i].name] = &o.nf4[i];
    }
    Codebooks codebooks;
    for (const auto & [name, w] : m.handle->tensors_by_name) {
        const auto found = named.find(name);
        if (found == named.end()) {
            continue;
        }
        require_linear(m, w);
        if (on_device(w)) {
            if (!codebooks.nf4(w)) {
                throw std::runtime_error("tensor " + name + " is NF4, and the back end of " + ggml_backend_dev_name(device_of(w)) + " was built without NF4's codebook");
            }
            place_nf4(w, *found->second, o.path);
            m.device_nf4.insert(w);
        } else {
            pack(m, w, *found->second);
        }
    }
}

void check_iq4nl(const Model & m) {
    Codebooks codebooks;
    for (const auto & [name, w] : m.handle->tensors_by_name) {
        if (w->type == GGML_TYPE_IQ4_NL && on_device(w) && codebooks.nf4(w)) {
            throw std::runtime_error("tensor " + name + " is IQ4_NL, and the back end of " + ggml_backend_dev_name(device_of(w))
                + " was built with NF4's codebook in its place: give it to the CPU (--gpu-layers 0), or use another type");
        }
    }
}

} // namespace lorikeet

extern "C" gguf_context * __wrap_gguf_init_from_file(const char * path, gguf_init_params params) {
    gguf_context * file = __real_gguf_init_from_file(path, params);
    const ll_load_options * o = lorikeet::loading;
    for (int i = 0; file && o && params.ctx && i < o->n_nf4; i++) {
        ggml_tensor * t = ggml_get_tensor(*params.ctx, o->nf4[i].name);
        if (t && (o->nf4[i].kind == LK_NF4_DQ || o->nf4[i].converted)) {
            lorikeet::reshape(t, o->nf4[i]);
        }
    }
    return file;
}

// A tensor that is converted has more bytes than the file has of it: the loader is shown some that are there, and what it reads
// is written over (nf4_device.cpp).
extern "C" size_t __wrap_gguf_get_tensor_offset(const gguf_context * file, int64_t tensor) {
    const ll_load_options * o = lorikeet::loading;
    for (int i = 0; o && i < o->n_nf4; i++) {
        if (o->nf4[i].converted && strcmp(o->nf4[i].name, gguf_get_tensor_name(file, tensor)) == 0) {
            return 0;
        }
    }
    return __real_gguf_get_tensor_offset(file, tensor);
}
