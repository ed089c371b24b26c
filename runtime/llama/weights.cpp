// What training reads of a model: the very tensors that serve.
#include "model.h"
#include "wall.h"
#include <new>

wall_model * wall_model_share(const wall_model * m) { return new (std::nothrow) wall_model{m->model}; }

const void * wall_model_llama(const wall_model * m) { return m->model->handle; }

wall_packed wall_model_packed(const void * context, const void * tensor) {
    const lorikeet::Model & m = *((const wall_model *) context)->model;
    const auto * t = (const ggml_tensor *) tensor;
    const auto nf4 = m.nf4.find(t);
    const auto integer = m.integers.find(t);
    return {nf4 == m.nf4.end() ? nullptr : nf4->second.get(), integer == m.integers.end() ? nullptr : integer->second.get(),
        t->type == GGML_TYPE_Q6_K};
}
