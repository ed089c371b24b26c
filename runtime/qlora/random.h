// Random numbers by counter: number i of a key is a function of both, so a mask can be made again for the
// backward pass, in any order and by any thread, and a resumed run draws what the first one would have drawn.
#pragma once
#include <math.h>
#include <stdint.h>

namespace lq {

// Mixes two 64-bit words into one (the finalizer of SplitMix64, Steele et al. 2014).
static inline uint64_t random_key(uint64_t a, uint64_t b) {
    uint64_t z = a + 0x9e3779b97f4a7c15ull*(b + 1);
    z = (z ^ (z >> 30))*0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27))*0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

// Number i of a key: a 32-bit hash in 32-bit steps, so that compilers vectorize it.
static inline uint32_t random_at(uint64_t key, uint32_t i) {
    uint32_t x = i*0x9e3779b9u + (uint32_t) key;
    x ^= x >> 16;
    x *= 0x21f0aaadu;
    x ^= (x >> 15) ^ (uint32_t) (key >> 32);
    x *= 0xd35a2d97u;
    x ^= x >> 15;
    return x;
}

// Uniform in [0, 1) with 24 bits.
static inline float random_unit(uint64_t key, uint64_t i) { return (float) (random_key(key, i) >> 40)*0x1p-24f; }

// Normal, with mean 0 and deviation 1 (Box & Muller 1958).
static inline float random_normal(uint64_t key, uint64_t i) {
    const float u = 1 - random_unit(key, 2*i), v = random_unit(key, 2*i + 1);
    return sqrtf(-2*logf(u))*cosf(2*(float) M_PI*v);
}

// Dropout with probability p keeps element i of a key where random_at(key, i) is below this.
static inline uint32_t dropout_threshold(float p) { return (uint32_t) ((1 - (double) p)*4294967295.0); }

} // namespace lq
