// Passes over a row of logits: the best, the best few, and log-probabilities.
#include "sampler.h"
#include <algorithm>
#include <cmath>

namespace lorikeet {

llama_token argmax(const float * logits, int n) { return lk_argmax(logits, nullptr, n); }

void largest(const float * logits, int n, size_t k, std::vector<llama_token_data> & out) {
    out.clear();
    for (int i = 0; i < n; i++) { // out is a heap whose front is the worst kept
        const llama_token_data d{i, logits[i], 0};
        if (out.size() == k) {
            if (!(d.logit > out.front().logit)) {
                continue;
            }
            std::pop_heap(out.begin(), out.end(), better);
            out.back() = d;
            std::push_heap(out.begin(), out.end(), better);
        } else if (d.logit > -INFINITY) {
            out.push_back(d);
            std::push_heap(out.begin(), out.end(), better);
        }
    }
    std::sort_heap(out.begin(), out.end(), better);
}

float log_probabilities(const float * logits, int n, llama_token token, int top, std::vector<ll_alternative> & out) {
    const llama_token best = argmax(logits, n);
    if (best < 0) {
        return -INFINITY;
    }
    double sum = 0;
    for (int i = 0; i < n; i++) {
        sum += expf(logits[i] - logits[best]);
    }
    const double log_sum = logits[best] + std::log(sum);
    if (top > 0) {
        std::vector<llama_token_data> c;
        largest(logits, n, (size_t) top, c);
        for (const llama_token_data & d : c) {
            out.push_back({d.id, (float) (d.logit - log_sum)});
        }
    }
    return token >= 0 ? (float) (logits[token] - log_sum) : -INFINITY;
}

} // namespace lorikeet
