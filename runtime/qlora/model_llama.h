// A model that llama.cpp has loaded, as the engine sees it.
#pragma once
#include "c_api.h"
#ifdef __cplusplus
extern "C" {
#endif

// Views of a loaded llama_model's tensors; nothing is copied, and the model must outlive them. packed_of may
// be NULL. Returns an lq_status; LQ_INVALID names the architecture or the tensor that training does not support. On failure
// *out is NULL. What lies on a device is trained there, by graphs; with on_device also what the CPU could read.
typedef struct lq_llama lq_llama;
int lq_llama_new(const void * llama_model, lk_packed_of * packed_of, const void * context, int on_device, lq_llama ** out, char * error, size_t error_size);
const lq_model * lq_llama_model(const lq_llama * m);
lq_graphs * lq_llama_graphs(lq_llama * m); // NULL where the CPU trains
void lq_llama_free(lq_llama * m); // NULL is fine

#ifdef __cplusplus
}
#endif
