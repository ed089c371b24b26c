// What training reads of a model: the very tensors that serve.
#include "model.h"
#include "wall.h"
#include <new>

wall_model * wall_model_share(const wall_model * m) { return new (std::nothrow) wall_model{m->model}; }

const void * wall_model_llama(const wall_model * m) { return m->model->handle; }

lk_packed wall_model_packed(const void * context, const void * tensor) {
    return ((const wall_model *) context)->model->packed((const ggml_tensor *) tensor);
}
