// llama.cpp's quantizer.
#include "call.h"
#include "llama.h"
#include <cstring>

using namespace lorikeet;

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

int wall_quantize(const char * in, const char * out, const char * type, int threads, uintptr_t progress, uintptr_t log, wall_error * err) {
    Call call(log);
    call.counter = progress;
    return guarded(err, (int) WALL_FAILED, [&] {
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
        if (llama_model_quantize(in, out, &p) != 0) {
            throw std::runtime_error(call.error("the model could not be quantized"));
        }
        return (int) WALL_OK;
    });
}
