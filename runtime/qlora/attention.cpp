// Attention forward, in the manner of FlashAttention (Dao et al. 2022) as far as memory goes: the scores of a
// block of queries exist for as long as the block is worked on, and backward makes them again.
#include "attention.h"
#include <algorithm>
#include <math.h>
#include <string.h>

namespace lq {

enum { ROWS = 192, HEIGHT = 12 }; // HEIGHT: a multiple of every tile's mr

int queries_per_block(const AttentionShape & a) { return std::max((int) HEIGHT, ROWS/a.group()/HEIGHT*HEIGHT); }

BlockRows::BlockRows(const AttentionShape & a, const QueryBlock & b) {
    queries = b.end - b.begin;
    stride = (queries + HEIGHT - 1)/HEIGHT*HEIGHT;
    rows = a.group()*stride;
    keys = b.end - b.s.begin;
}

std::vector<QueryBlock> query_blocks(const AttentionShape & a, const std::vector<Sequence> & sequences) {
    std::vector<QueryBlock> blocks;
    const int step = queries_per_block(a);
    for (const Sequence & s : sequences) {
        for (int begin = s.begin; begin < s.end; begin += step) {
            for (int h = 0; h < a.kv_heads; h++) {
                blocks.push_back({s, h, begin, std::min(begin + step, s.end)});
            }
        }
    }
    std::stable_sort(blocks.begin(), blocks.end(), [](const QueryBlock & x, const QueryBlock & y) { return x.end - x.s.begin > y.end - y.s.begin; });
    return blocks;
}

std::vector<QueryBlock> whole_blocks(const AttentionShape & a, const std::vector<Sequence> & sequences) {
    std::vector<QueryBlock> blocks;
    for (const Sequence & s : sequences) {
        for (int h = 0; h < a.kv_heads; h++) {
            blocks.push_back({s, h, s.begin, s.end});
        }
    }
    std::stable_sort(blocks.begin(), blocks.end(), [](const QueryBlock & x, const QueryBlock & y) { return x.end - x.begin > y.end - y.begin; });
    return blocks;
}

double flops_of(const AttentionShape & a, const QueryBlock & b) {
    const double seen = (b.begin - b.s.begin + b.end - b.s.begin)/2.0;
    return 4.0*a.group()*(b.end - b.begin)*seen*a.head_size;
}

float * ScratchAllocator::take(size_t floats) {
    float * p = s.base;
    floats = (floats + 15)/16*16;
    s.base += floats;
    s.floats -= floats;
    return p;
}

void gather(const AttentionShape & a, const QueryBlock & b, const BlockRows & r, const float * x, float * out) {
    for (int g = 0; g < a.group(); g++) {
        const float * from = x + (size_t) b.begin*a.q_width() + (b.kv_head*a.group() + g)*a.head_size;
        for (int i = 0; i < r.stride; i++, out += a.head_size) {
            if (i < r.queries) {
                memcpy(out, from + (size_t) i*a.q_width(), a.head_size*sizeof(float));
            } else {
                memset(out, 0, a.head_size*sizeof(float));
            }
        }
    }
}

void scatter(const AttentionShape & a, const QueryBlock & b, const BlockRows & r, const float * in, float * x) {
    for (int g = 0; g < a.group(); g++, in += (size_t) r.stride*a.head_size) {
        float * to = x + (size_t) b.begin*a.q_width() + (b.kv_head*a.group() + g)*a.head_size;
        for (int i = 0; i < r.queries; i++) {
            memcpy(to + (size_t) i*a.q_width(), in + (size_t) i*a.head_size, a.head_size*sizeof(float));
        }
    }
}

void probabilities(const Kernels & k, const AttentionShape & a, const QueryBlock & b, const BlockRows & r, const float * q, Matrix keys, Unit * buffer,
    float * p, Scratch s) {
    const Left left = {buffer, r.rows, a.head_size, nullptr};
    pack_left_here(*k.tile, left, {q, a.head_size});
    multiply_here(k, product(left, Right::transposed(keys, a.head_size, r.keys), p, r.keys, false, a.scale), s);
    for (int g = 0; g < a.group(); g++, p += (size_t) r.stride*r.keys) {
        for (int i = 0; i < r.queries; i++) {
            float * row = p + (size_t) i*r.keys;
            const int seen = visible(b, i);
            k.rows->softmax(row, seen);
            memset(row + seen, 0, (r.keys - seen)*sizeof(float));
        }
    }
}

size_t attention_scratch_floats(const Tile & t, const AttentionShape & a, int T) {
    const int rows = a.group()*queries_per_block(a);
    const size_t narrow = (size_t) rows*a.head_size, wide = (size_t) rows*T;
    const size_t left = std::max({left_floats(t, rows, a.head_size), left_floats(t, rows, T), left_floats(t, T, rows)});
    return 5*narrow + 2*wide + left + scratch_floats(t, std::max({a.head_size, rows, T}), 0) + 16*16;
}

void attention(const Compute & c, const AttentionShape & a, const QueryBlock * blocks, int n, const float * q, const float * k, const float * v, float * o) {
    c.pool->run(n, [&](int at, int thread) {
        const QueryBlock & b = blocks[at];
        const BlockRows r(a, b);
        const size_t first = (size_t) b.s.begin*a.kv_width() + b.kv_head*a.head_size;
        ScratchAllocator pieces = {c.scratch[thread]};
        float * queries = pieces.take((size_t) r.rows*a.head_size), * p = pieces.take((size_t) r.rows*r.keys);
        float * buffer = pieces.take(std::max(left_floats(*c.kernels.tile, r.rows, a.head_size), left_floats(*c.kernels.tile, r.rows, r.keys)));
        gather(a, b, r, q, queries);
        probabilities(c.kernels, a, b, r, queries, {k + first, a.kv_width()}, (Unit *) buffer, p, pieces.s);
        const Left left = {(Unit *) buffer, r.rows, r.keys, nullptr};
        pack_left_here(*c.kernels.tile, left, {p, r.keys});
        float * out = queries; // no longer needed
        multiply_here(c.kernels, product(left, Right::of({v + first, a.kv_width()}, r.keys, a.head_size), out, a.head_size), pieces.s);
        scatter(a, b, r, out, o);
    });
}

} // namespace lq
