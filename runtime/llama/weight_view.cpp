#include "weight_view.h"

namespace lorikeet {

lq_weight weight_view(const Model & m, int target) {
    const Target & t = m.targets[(size_t) target];
    if (on_device(t.weight)) {
        throw std::runtime_error(t.name + ": the adapter needs the weights themselves, and they lie in the memory of a device");
    }
    lq_weight w;
    if (lq_view(t.weight, m.packed(t.weight), &w) != LQ_OK) {
        throw std::runtime_error(t.name + ": the adapter needs the weights themselves, and those of type " + ggml_type_name(t.weight->type)
            + " in this layout cannot be read");
    }
    return w;
}

} // namespace lorikeet
