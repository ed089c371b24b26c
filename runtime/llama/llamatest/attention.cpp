// One tile of attention after another, as a graph's node runs them: what the tests compare with plain loops.
#include "llamatest.h"
#include "../attention.h"

void test_attend(const float * q, const uint16_t * k, const uint16_t * v, float * out, const int32_t * cells, int n, int rows,
                 int heads, int kv_heads, int head_size, float scale) {
    const size_t row = (size_t) heads*head_size*sizeof(float), cell = (size_t) kv_heads*head_size*sizeof(uint16_t);
    const attention_job job = {(const char *) q, row, head_size*sizeof(float), (const char *) k, (const char *) v, cell,
        head_size*sizeof(uint16_t), cell, head_size*sizeof(uint16_t), (char *) out, row, head_size*sizeof(float), head_size, heads, kv_heads, scale};
    const int group = heads/kv_heads, together = ATTENTION_QUERIES/group;
    for (int first = 0; first < rows; first += together) {
        const int some = rows - first < together ? rows - first : together;
        for (int kv = 0; kv < kv_heads; kv++) {
            attend_now()(job, {first, some, cells, n - (rows - first - some)}, kv*group, group);
        }
    }
}
