// Vulkan's supports_op is asked before tensors have an address, so that it cannot refuse an operation for the place of its
// operands. What it says yes to and then gets wrong was read in the sources of its products and of its push constants.
#include "misread.h"
#include "compute.h"
#include "devicetest.h"
#include "ggml-alloc.h"
#include "ggml-backend.h"
#include <cstdint>
#include <memory>

namespace devicetest {

namespace {

// Where a storage buffer may begin on most GPUs (minStorageBufferOffsetAlignment of NVIDIA's and of lavapipe), in bytes.
constexpr uintptr_t OFFSET = 16;

bool misaligned(const ggml_tensor * t) { return t && (uintptr_t) t->data % OFFSET != 0; }

// A product takes a matrix whose rows have no gaps to be followed by the next one at once.
bool gap(const ggml_tensor * t) {
    return t->ne[2]*t->ne[3] > 1 && t->nb[0] == ggml_type_size(t->type) && t->nb[1] == ggml_row_size(t->type, t->ne[0])
        && (t->ne[3] == 1 || t->nb[3] == t->nb[2]*t->ne[2]) && t->nb[2] != t->nb[1]*(size_t) t->ne[1];
}

bool rises(const ggml_tensor * t) { return t->ne[3] == 1 && t->nb[0] <= t->nb[2] && t->nb[2] <= t->nb[1] && t->nb[1] <= t->nb[3]; }

// Products of an F16 matrix with one vector for each plane have shaders that read every stride, and begin anywhere in b.
bool strided(const ggml_tensor * a, const ggml_tensor * b, const ggml_tensor * result) {
    if (a->type != GGML_TYPE_F16 || result->ne[1] != 1) {
        return false;
    }
    const bool turned = ggml_is_permuted(a) && ggml_is_permuted(b) && rises(a) && rises(b);
    const bool gaps = !ggml_is_contiguous(a) && !ggml_is_transposed(b) && !ggml_is_permuted(a) && !ggml_is_permuted(b);
    return turned || gaps;
}

// Operations whose shaders take where in a storage buffer their operands begin.
bool begins_anywhere(ggml_op op) {
    switch (op) {
    case GGML_OP_ADD: case GGML_OP_SUB: case GGML_OP_MUL: case GGML_OP_DIV: case GGML_OP_ADD1: case GGML_OP_ACC: case GGML_OP_CONCAT:
    case GGML_OP_SET_ROWS: case GGML_OP_RMS_NORM: case GGML_OP_SQR: case GGML_OP_SQRT: case GGML_OP_SIN: case GGML_OP_COS: case GGML_OP_LOG:
    case GGML_OP_CLAMP: case GGML_OP_SCALE: case GGML_OP_CPY: case GGML_OP_CONT: case GGML_OP_DUP: case GGML_OP_REPEAT:
    case GGML_OP_REPEAT_BACK: case GGML_OP_ROLL: case GGML_OP_TRI: case GGML_OP_DIAG: case GGML_OP_SUM: case GGML_OP_SUM_ROWS:
    case GGML_OP_CUMSUM: case GGML_OP_MEAN: case GGML_OP_PAD: case GGML_OP_UPSCALE:
        return true;
    default:
        return false;
    }
}

} // namespace

const char * misread(const ggml_tensor * op) {
    const bool product = op->op == GGML_OP_MUL_MAT || op->op == GGML_OP_MUL_MAT_ID;
    if (op->op == GGML_OP_MUL_MAT && strided(op->src[0], op->src[1], op)) {
        return misaligned(op->src[0]) ? "the matrix begins at no alignment" : nullptr;
    }
    if (product && (gap(op->src[0]) || gap(op->src[1]))) {
        return "an operand has a gap between its matrices";
    }
    if (begins_anywhere(op->op)) {
        return nullptr;
    }
    for (const ggml_tensor * source : op->src) {
        if (misaligned(source)) {
            return "an operand begins at no alignment";
        }
    }
    return misaligned(op) ? "the result begins at no alignment" : nullptr;
}

} // namespace devicetest

int devicetest_try_product(int rows_between, int values_before) {
    using namespace devicetest;
    const std::unique_ptr<ggml_context, void (*)(ggml_context *)> ctx(ggml_init({1 << 18, nullptr, true}), ggml_free);
    const std::unique_ptr<ggml_backend, void (*)(ggml_backend_t)> backend(new_backend(ggml_backend_dev_by_name(devicetest_name()), nullptr), ggml_backend_free);
    const int64_t width = 32, rows = 3, planes = 2;
    ggml_tensor * whole = ggml_new_tensor_3d(ctx.get(), GGML_TYPE_F32, width, rows + rows_between, planes + 1);
    ggml_tensor * a = ggml_view_3d(ctx.get(), whole, width, rows, planes, whole->nb[1], whole->nb[2], values_before*sizeof(float));
    ggml_tensor * b = ggml_new_tensor_3d(ctx.get(), GGML_TYPE_F32, width, 2, planes);
    ggml_cgraph * graph = ggml_new_graph(ctx.get());
    ggml_build_forward_expand(graph, ggml_mul_mat(ctx.get(), a, b));
    const std::unique_ptr<ggml_backend_buffer, void (*)(ggml_backend_buffer_t)> buffer(ggml_backend_alloc_ctx_tensors(ctx.get(), backend.get()), ggml_backend_buffer_free);
    ggml_backend_buffer_clear(buffer.get(), 0);
    return ggml_backend_graph_compute(backend.get(), graph) == GGML_STATUS_SUCCESS;
}
