// The device as ggml's registry knows it.
#include "compute.h"
#include "devicetest.h"
#include "memory.h"
#include <mutex>

namespace devicetest {

namespace {

const char * device_name(ggml_backend_dev_t) { return NAME; }
const char * description(ggml_backend_dev_t) { return "a device for tests, computed by the CPU"; }

void memory(ggml_backend_dev_t, size_t * free, size_t * total) {
    *total = memory_total();
    *free = *total > memory_used() ? *total - memory_used() : 0;
}

enum ggml_backend_dev_type type(ggml_backend_dev_t) { return GGML_BACKEND_DEVICE_TYPE_GPU; }

void properties(ggml_backend_dev_t d, ggml_backend_dev_props * p) {
    *p = {};
    p->name = NAME;
    p->description = description(d);
    memory(d, &p->memory_free, &p->memory_total);
    p->type = type(d);
    p->caps.async = !stands_for_vulkan(); // which has functions for that and names none of them to ggml
    p->id = NAME;
    p->library = "devicetest";
}

ggml_backend_buffer_type_t type_of_buffers(ggml_backend_dev_t) { return buffer_type(); }
bool supports_op(ggml_backend_dev_t, const ggml_tensor * op) { return supports(op); }
bool supports_buffer(ggml_backend_dev_t, ggml_backend_buffer_type_t t) { return t == buffer_type(); }
bool offload(ggml_backend_dev_t, const ggml_tensor *) { return false; }

const char * registry_name(ggml_backend_reg_t) { return "devicetest"; }
size_t devices(ggml_backend_reg_t) { return 1; }
ggml_backend_dev_t device_at(ggml_backend_reg_t, size_t) { return device(); }
void * function(ggml_backend_reg_t, const char *) { return nullptr; }

} // namespace

static ggml_backend_reg_t registry() {
    static ggml_backend_reg r = {GGML_BACKEND_API_VERSION, {registry_name, devices, device_at, function}, nullptr};
    return &r;
}

ggml_backend_dev_t device() {
    static ggml_backend_device d = [] {
        ggml_backend_device d = {};
        d.iface.get_name = device_name;
        d.iface.get_description = description;
        d.iface.get_memory = memory;
        d.iface.get_type = type;
        d.iface.get_props = properties;
        d.iface.init_backend = new_backend;
        d.iface.get_buffer_type = type_of_buffers;
        d.iface.supports_op = supports_op;
        d.iface.supports_buft = supports_buffer;
        d.iface.offload_op = offload;
        d.reg = registry();
        return d;
    }();
    return &d;
}

} // namespace devicetest

using namespace devicetest;

void devicetest_register(void) {
    static std::once_flag once;
    std::call_once(once, [] { ggml_backend_register(registry()); });
}

const char * devicetest_name(void) { return NAME; }
void devicetest_set_memory(size_t bytes) { set_memory_total(bytes); }
size_t devicetest_used(void) { return memory_used(); }

#ifdef GGML_BACKEND_DL
GGML_BACKEND_DL_IMPL(registry)
#endif
