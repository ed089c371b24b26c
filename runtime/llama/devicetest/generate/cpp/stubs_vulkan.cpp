// What ggml-vulkan's function needs beside ggml: a device with all that Vulkan 1.3 has and no cooperative matrices.
#include "ggml-impl.h"
#include "ggml-backend-impl.h"
#include <cmath>
#include <memory>

#define UNUSED GGML_UNUSED

struct vk_device_struct {
    const bool coopmat2 = false, subgroup_shuffle = true, subgroup_vote = true, subgroup_arithmetic = true, subgroup_require_full_support = true,
        vulkan_memory_model = true;
    const uint32_t max_workgroup_size_log2 = 10;
    struct { struct { uint32_t maxComputeSharedMemorySize = 32768; } limits; } properties;
    // Every pipeline is there.
    struct { bool operator[](size_t) const { return true; } } mul_mat_id_s, mul_mat_id_m, mul_mat_id_l, pipeline_topk_f32;
};
typedef std::shared_ptr<vk_device_struct> vk_device;
struct ggml_backend_vk_device_context { size_t device; };
static vk_device & ggml_vk_get_device(size_t) {
    static vk_device device = std::make_shared<vk_device_struct>();
    return device;
}

//FUNCTIONS

bool vulkan_takes(const ggml_tensor * op) {
    ggml_backend_vk_device_context context = {0};
    ggml_backend_device device = {};
    device.context = &context;
    return ggml_backend_vk_device_supports_op(&device, op);
}
