// Whether a device multiplies floats as floats. Vulkan's shaders with F16 round those of products with more than 8 rows to half
// precision: what is above 65504 becomes infinite, and small gradients lose their digits. Nothing says so but a product.
#include "graph.h"
#include <cmath>

namespace lq {

bool keeps_range(ggml_backend_t backend) {
    enum { WIDTH = 64, ROWS = 64 };
    const float large = 131072; // 2^17, which formats of fewer digits hold, too, if they have the range
    Graph g(backend, WeightReader{}, 8);
    auto all = [](float value) {
        return [value](void * to) {
            for (int i = 0; i < WIDTH*ROWS; i++) {
                ((float *) to)[i] = value;
            }
        };
    };
    ggml_tensor * y = g.mul_mat(g.input(GGML_TYPE_F32, WIDTH, ROWS, all(1)), g.input(GGML_TYPE_F32, WIDTH, ROWS, all(large)));
    bool kept = true;
    g.output(y, [&kept, large](const void * from) {
        for (int i = 0; i < ROWS*ROWS; i++) {
            kept &= std::fabs(((const float *) from)[i] - WIDTH*large) < large;
        }
    });
    const AllocatorPtr allocator(ggml_gallocr_new(ggml_backend_get_default_buffer_type(backend)));
    if (!allocator) {
        throw std::bad_alloc();
    }
    g.allocate(allocator.get());
    for (int part = 0, parts = g.divide(1e9); part < parts; part++) {
        g.run(part);
    }
    g.finish();
    return kept;
}

} // namespace lq
