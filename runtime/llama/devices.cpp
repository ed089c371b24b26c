// The back ends of ggml that this process has, and their devices. ggml's registry has no lock: Go holds one.
#include "call.h"
#include "devices.h"

namespace lorikeet {

ggml_backend_dev_t find_device(const char * name) {
    const ggml_backend_dev_t found = ggml_backend_dev_by_name(name);
    if (found) {
        return found;
    }
    std::string known;
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        known += (i > 0 ? ", " : "") + std::string(ggml_backend_dev_name(ggml_backend_dev_get(i)));
    }
    throw std::runtime_error("there is no device " + std::string(name) + "; there are: " + known);
}

} // namespace lorikeet

using namespace lorikeet;

int ll_backend_load(const char * path, ll_error * err) {
    Call call(0);
    return guarded(err, (int) LL_FAILED, [&] {
        if (!ggml_backend_load(path)) {
            call.fail("it says that it does not run on this system");
        }
        return (int) LL_OK;
    });
}

int ll_device_count(void) { return (int) ggml_backend_dev_count(); }

static int type_of(ggml_backend_dev_t d) {
    switch (ggml_backend_dev_type(d)) {
    case GGML_BACKEND_DEVICE_TYPE_GPU: return LL_GPU;
    case GGML_BACKEND_DEVICE_TYPE_IGPU: return LL_IGPU;
    case GGML_BACKEND_DEVICE_TYPE_ACCEL: return LL_ACCELERATOR;
    default: return LL_CPU;
    }
}

void ll_device_describe(int i, ll_device_info * out) {
    const ggml_backend_dev_t d = ggml_backend_dev_get((size_t) i);
    *out = {};
    out->name = ggml_backend_dev_name(d);
    out->description = ggml_backend_dev_description(d);
    out->backend = ggml_backend_reg_name(ggml_backend_dev_backend_reg(d));
    out->type = type_of(d);
    ggml_backend_dev_memory(d, &out->free, &out->memory);
}
