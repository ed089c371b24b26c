// A model of random numbers and its memory.
#pragma once
#include "../random.h"
#include "sample.h"
#include "weights.h"
#include <deque>
#include <new>
#include <vector>

struct lq_sample {
    lq_model model = {};
    std::vector<lq_layer> layers;
    std::deque<lq::MadeWeight> weights;
    std::deque<std::vector<float>> floats; // norms, biases, rope factors
    uint64_t next;                         // key of the next tensor
    const float * rope_factors = nullptr;  // (head_size/2) where RoPE is stretched

    explicit lq_sample(uint64_t seed) : next(seed) {}

    // n uniform numbers.
    std::vector<float> random(size_t n, float mean, float deviation) {
        const uint64_t key = lq::random_key(next++, 77);
        std::vector<float> x(n);
        for (size_t i = 0; i < n; i++) {
            x[i] = mean + deviation*1.7320508f*(2*lq::random_unit(key, i) - 1);
        }
        return x;
    }
    const float * vector(size_t n, float mean, float deviation) {
        floats.push_back(random(n, mean, deviation));
        return floats.back().data();
    }
    lq_weight weight(int kind, int n_in, int n_out, float deviation) {
        const std::vector<float> x = random((size_t) n_in*n_out, 0, deviation);
        weights.push_back(lq::make_weight(kind, x.data(), n_in, n_out));
        if (weights.back().weight.kind == LQ_NONE) {
            throw std::bad_alloc();
        }
        return weights.back().weight;
    }
};
