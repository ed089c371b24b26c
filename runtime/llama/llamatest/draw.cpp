#include "llamatest.h"
#include "../sampler.h"

int32_t test_draw(void * sampler, const float * logits) {
    ll_error err;
    return lorikeet::guarded(&err, (int32_t) LL_SAMPLER_FAILED, [&] {
        lorikeet::Scratch scratch;
        return lorikeet::draw_or_code(((ll_sampler *) sampler)->sampler, logits, nullptr, false, scratch, err.text, sizeof err.text);
    });
}
