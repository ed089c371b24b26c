// The loaded base: llama.cpp's model, the layers that adapters may change, and the weights that our kernels multiply.
#pragma once
#include "call.h"
#include "../kernels/kernels.h"
#include "llama-model.h"
#include "c_api.h"
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace lorikeet {

// A Target is a base tensor that an adapter may change.
struct Target {
    std::string name; // GGUF: "blk.0.attn_q.weight"
    int n_in, n_out;
    const ggml_tensor * weight;
    int norm = -1; // on a device: the norm whose weights, where an adapter has its own, lie in this target's slots; -1: none
};

// A Norm is the weight of an RMSNorm, which an adapter may have its own of.
struct Norm {
    std::string name; // GGUF: "blk.0.attn_norm.weight"
    int width;
    bool by_head;     // it norms the heads of q or k, (width, heads, rows); else (width, rows)
    const ggml_tensor * weight;
    int host = -1;           // on a device: the target whose slots hold adapters' own weights; -1: it lies on the CPU
    std::vector<float> base; // the same weight, which the CPU can read wherever it lies

    bool on_device() const { return host >= 0; }
};

struct Nf4Free {
    void operator()(lk_nf4 * w) const { lk_nf4_free(w); }
};
using Nf4Weight = std::unique_ptr<lk_nf4, Nf4Free>;

struct IntFree {
    void operator()(lk_int * w) const { lk_int_free(w); }
};
using IntWeight = std::unique_ptr<lk_int, IntFree>;

class TokenBytes; // grammar.h

// A Model never changes once it is loaded and may be read from any thread.
struct Model {
    Model() = default;
    Model(const Model &) = delete;
    Model & operator=(const Model &) = delete;
    ~Model() { llama_model_free(handle); }

    llama_model * handle = nullptr;
    uintptr_t log = 0;

    std::vector<Target> targets;
    std::unordered_map<const ggml_tensor *, int> by_weight; // targets reached through ggml_mul_mat
    int head = -1;                                          // the target that gives the logits
    int embedding = -1;                                     // the target reached through ggml_get_rows
    const ggml_tensor * embedding_table = nullptr;
    std::vector<Norm> norms;
    std::unordered_map<const ggml_tensor *, int> norm_by_weight;
    std::vector<std::pair<std::string, std::string>> refused; // tensor and reason

    int nf4_mode = LK_NF4_I16;
    std::unordered_map<const ggml_tensor *, Nf4Weight> nf4;
    std::unordered_map<const ggml_tensor *, IntWeight> integers; // Q8_0 and Q6_K
    std::unordered_set<const ggml_tensor *> device_nf4;          // NF4 in the memory of devices, in blocks of 32 typed IQ4_NL

    llama_token bos = LLAMA_TOKEN_NULL, eos = LLAMA_TOKEN_NULL; // as the file has them
    std::vector<llama_token> end_tokens;                        // EOS, EOT, ...
    std::string architecture;
    std::string name, chat_template;

    // The packed weight that stands for a tensor.
    lk_packed packed(const ggml_tensor * t) const {
        const auto four = nf4.find(t);
        const auto more = integers.find(t);
        return {four == nf4.end() ? nullptr : four->second.get(), more == integers.end() ? nullptr : more->second.get()};
    }

    mutable std::once_flag token_bytes_once;
    mutable std::shared_ptr<const TokenBytes> token_bytes; // made for the first grammar

    const llama_vocab * vocab() const { return llama_model_get_vocab(handle); }
    int n_vocab() const { return llama_vocab_n_tokens(vocab()); }
    bool has_vocab() const { return llama_vocab_type(vocab()) != LLAMA_VOCAB_TYPE_NONE; }
};

// Fills targets, by_weight, embedding, norms and refused.
void find_targets(Model & m);

// While it lives, llama.cpp sees the NF4 tensors of a file that this thread opens as tensors of types that it knows.
class Nf4Load {
public:
    explicit Nf4Load(const ll_load_options & o);
    ~Nf4Load();
    Nf4Load(const Nf4Load &) = delete;
    Nf4Load & operator=(const Nf4Load &) = delete;
};

// Checks the scales of an NF4 tensor in a device's memory, and writes it there in blocks of 32 where the file has others.
void place_nf4(ggml_tensor * w, const ll_nf4 & n, const char * path);

// Refuses a model whose IQ4_NL tensors a device would multiply with NF4's codebook.
void check_iq4nl(const Model & m);

// Packs the NF4 tensors for our kernels and gives their original pages back to the system.
void pack_nf4(Model & m, const ll_load_options & o);

// Packs the Q8_0 and Q6_K tensors that products read, the output head first of all, for our kernels, and gives
// their original pages back, unless they are read again.
void pack_integers(Model & m);

// Whether the original of a packed tensor is still read: it is where an embedding in the same memory, which no file can
// bring back, is looked up by rows.
bool original_read(const Model & m, const ggml_tensor * w);

// Whether a tensor lies in the memory of a device, where neither our kernels nor anything else on the CPU can read it.
bool on_device(const ggml_tensor * t);
// Of a model, whether any of its layers does.
bool on_device(const Model & m);

// Whether a tensor lies in a mapping of its file, so that its pages can be read again when they are dropped.
bool mapped(const ggml_tensor * w);

// Gives the whole pages inside [data, data+size) back. In a mapped file they are read again when touched; in
// allocated memory they come back as zeros.
void drop_pages(void * data, size_t size);

} // namespace lorikeet

struct ll_model {
    std::shared_ptr<const lorikeet::Model> model;
};
