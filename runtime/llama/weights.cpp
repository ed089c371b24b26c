// What training reads of a model: the very tensors that serve.
#include "model.h"
#include "c_api.h"
#include <new>

ll_model * ll_model_share(const ll_model * m) { return new (std::nothrow) ll_model{m->model}; }

const void * ll_model_llama(const ll_model * m) { return m->model->handle; }

lk_packed ll_model_packed(const void * context, const void * tensor) {
    return ((const ll_model *) context)->model->packed((const ggml_tensor *) tensor);
}
