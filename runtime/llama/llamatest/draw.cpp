#include "llamatest.h"
#include "../sampler.h"

int32_t test_draw(void * sampler, const float * logits) {
    wall_error err;
    return lorikeet::guarded(&err, (int32_t) WALL_SAMPLER_FAILED, [&] {
        lorikeet::Scratch scratch;
        return lorikeet::draw_or_code(((wall_sampler *) sampler)->sampler, logits, scratch, err.text, sizeof err.text);
    });
}
