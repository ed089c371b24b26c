// What ggml-cuda's functions need beside ggml: a device with tensor cores, and no buffers that are split over several.
#include "ggml-impl.h"
#include "ggml-backend-impl.h"
#include <cstring>

#define WARP_SIZE 32
#define FLASH_ATTN_AVAILABLE
#define FATTN_KQ_STRIDE 256
#define GGML_CUDA_CC_ADA_LOVELACE 890

struct ggml_backend_cuda_device_context { int device; };
struct ggml_backend_cuda_buffer_type_context { int device; };
struct ggml_backend_cuda_split_buffer_type_context { const float * tensor_split; };
struct cuda_info { struct { int cc; } devices[1]; };
static cuda_info ggml_cuda_info() { return {{{800}}}; }
static bool ggml_backend_buft_is_cuda(ggml_backend_buffer_type_t) { return false; }
static bool ggml_backend_buft_is_cuda_split(ggml_backend_buffer_type_t) { return false; }
static void get_row_split(int64_t *, int64_t *, const ggml_tensor *, const float *, int) {}
static bool turing_mma_available(int) { return true; }
static bool volta_mma_available(int) { return false; }
static bool ggml_cuda_should_use_wmma_fattn(int) { return false; }

//FUNCTIONS

bool cuda_takes(const ggml_tensor * op) {
    ggml_backend_cuda_device_context context = {0};
    ggml_backend_device device = {};
    device.context = &context;
    return ggml_backend_cuda_device_supports_op(&device, op);
}
