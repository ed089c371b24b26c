// llama.cpp's quantizer.
#include "call.h"
#include "llama-model-loader.h"
#include "model.h"
#include "llama.h"
#include <cstring>

using namespace lorikeet;

// The quantizer maps the whole file and never gives a page back, so that in the end all of it counts as memory of
// the process. The linker redirects its calls that make a tensor's data readable to us (the flag is in model.go);
// when the next tensor comes, the last one's pages go. What is left is the largest tensor, as float32 as well.
struct Reading {
    void * data;
    size_t size;
};
static thread_local Reading * reading = nullptr; // set while this thread quantizes

// While it lives, this thread quantizes.
class Quantizing {
public:
    Quantizing() { reading = &last; }
    ~Quantizing() { reading = nullptr; }
    Quantizing(const Quantizing &) = delete;
    Quantizing & operator=(const Quantizing &) = delete;

private:
    Reading last = {};
};

extern "C" void __real__ZNK18llama_model_loader13load_data_forEP11ggml_tensor(const llama_model_loader * self, ggml_tensor * t);
extern "C" void __wrap__ZNK18llama_model_loader13load_data_forEP11ggml_tensor(const llama_model_loader * self, ggml_tensor * t) {
    if (reading && self->use_mmap) {
        drop_pages(reading->data, reading->size);
    }
    __real__ZNK18llama_model_loader13load_data_forEP11ggml_tensor(self, t);
    if (reading) {
        *reading = {t->data, ggml_nbytes(t)};
    }
}

struct FileType {
    const char * name;
    llama_ftype type;
};

static const FileType FILE_TYPES[] = {
    {"f32", LLAMA_FTYPE_ALL_F32},          {"f16", LLAMA_FTYPE_MOSTLY_F16},       {"bf16", LLAMA_FTYPE_MOSTLY_BF16},
    {"q4_0", LLAMA_FTYPE_MOSTLY_Q4_0},     {"q4_1", LLAMA_FTYPE_MOSTLY_Q4_1},     {"q5_0", LLAMA_FTYPE_MOSTLY_Q5_0},
    {"q5_1", LLAMA_FTYPE_MOSTLY_Q5_1},     {"q8_0", LLAMA_FTYPE_MOSTLY_Q8_0},     {"q4_k_s", LLAMA_FTYPE_MOSTLY_Q4_K_S},
    {"q4_k_m", LLAMA_FTYPE_MOSTLY_Q4_K_M}, {"q5_k_m", LLAMA_FTYPE_MOSTLY_Q5_K_M}, {"q6_k", LLAMA_FTYPE_MOSTLY_Q6_K},
    {"iq4_nl", LLAMA_FTYPE_MOSTLY_IQ4_NL}, {"iq4_xs", LLAMA_FTYPE_MOSTLY_IQ4_XS},
};

int ll_quantize(const char * in, const char * out, const char * type, int threads, uintptr_t progress, uintptr_t log, ll_error * err) {
    Call call(log);
    call.counter = progress;
    return guarded(err, (int) LL_FAILED, [&] {
        llama_model_quantize_params p = llama_model_quantize_default_params();
        p.nthread = threads;
        const FileType * found = nullptr;
        for (const FileType & t : FILE_TYPES) {
            if (!strcmp(t.name, type)) {
                found = &t;
            }
        }
        if (!found) {
            throw std::runtime_error("unknown type " + std::string(type));
        }
        p.ftype = found->type;
        Quantizing quantizing;
        if (llama_model_quantize(in, out, &p)) {
            call.fail("the model could not be quantized");
        }
        return (int) LL_OK;
    });
}
