// A model that llama.cpp has loaded, as the engine sees it.
#pragma once
#include "wall.h"
#ifdef __cplusplus
extern "C" {
#endif

// The packed weight of runtime/kernels that stands for a tensor (a ggml_tensor): one of the two, or none where
// ggml's own data does.
typedef struct {
    const struct lk_nf4 * nf4;
    const struct lk_int * integer;
    int q6_k; // of integer: it came as Q6_K, else as Q8_0
} lq_packed;
typedef lq_packed lq_packed_of(const void * context, const void * tensor);

// Views of a loaded llama_model's tensors; nothing is copied, and the model must outlive them. packed_of may
// be NULL. NULL: see error, which names the architecture or the tensor that training does not know.
typedef struct lq_llama lq_llama;
lq_llama * lq_llama_new(const void * llama_model, lq_packed_of * packed_of, const void * context, char * error, size_t error_size);
const lq_model * lq_llama_model(const lq_llama * m);
void lq_llama_free(lq_llama * m); // NULL is fine

#ifdef __cplusplus
}
#endif
