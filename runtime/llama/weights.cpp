// What training reads of a model: the very tensors that serve.
#include "model.h"
#include "wall.h"
#include <new>

wall_model * wall_model_share(const wall_model * m) { return new (std::nothrow) wall_model{m->model}; }

const void * wall_model_llama(const wall_model * m) { return m->model->handle; }

const struct lk_nf4 * wall_model_nf4(const void * context, const void * tensor) {
    const auto & packed = ((const wall_model *) context)->model->nf4;
    const auto it = packed.find((const ggml_tensor *) tensor);
    return it == packed.end() ? nullptr : it->second.get();
}
