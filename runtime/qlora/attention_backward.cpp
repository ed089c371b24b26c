// Attention backward: the probabilities of a block are computed again, then with ds = p * (dp - rowsum(do * o)),
// dv = p^T do, dq = scale * ds k, dk = scale * ds^T q.
#include "attention.h"
#include <algorithm>
#include <math.h>
#include <string.h>

namespace lq {

namespace {

struct Gradients {
    const float * q, * k, * v, * o, * d_o;
    float * dq, * dk, * dv;
};

// ds (rows, keys), which holds dp, from p, o and do.
void score_gradient(const Kernels & k, const AttentionShape & a, const QueryBlock & b, const BlockRows & r, const float * p, const float * o,
    const float * d_o, float * ds) {
    for (int g = 0; g < a.group(); g++) {
        for (int i = 0; i < r.queries; i++) {
            const size_t row = (size_t) g*r.stride + i;
            const int seen = visible(b, i);
            const float delta = k.rows->dot(o + row*a.head_size, d_o + row*a.head_size, a.head_size);
            k.rows->softmax_backward(p + row*r.keys, ds + row*r.keys, delta, seen);
            memset(ds + row*r.keys + seen, 0, (r.keys - seen)*sizeof(float));
        }
    }
}

// Adds one block of queries to dq, and to the dk and dv of its sequence and head.
void block_backward(const Kernels & k, const AttentionShape & a, const QueryBlock & b, const Gradients & x, Scratch s) {
    const BlockRows r(a, b);
    const Tile & t = *k.tile;
    const ptrdiff_t ld = a.kv_width();
    const size_t first = (size_t) b.s.begin*ld + b.kv_head*a.head_size, narrow = (size_t) r.rows*a.head_size;
    ScratchAllocator pieces = {s};
    float * q = pieces.take(narrow), * d_o = pieces.take(narrow), * o = pieces.take(narrow), * dq = o;
    float * p = pieces.take((size_t) r.rows*r.keys), * ds = pieces.take((size_t) r.rows*r.keys);
    Unit * buffer = (Unit *) pieces.take(std::max({left_floats(t, r.rows, a.head_size), left_floats(t, r.rows, r.keys), left_floats(t, r.keys, r.rows)}));
    const Left queries = {buffer, r.rows, a.head_size, nullptr}, scores = {buffer, r.rows, r.keys, nullptr}, transposed = {buffer, r.keys, r.rows, nullptr};
    gather(a, b, r, x.q, q);
    gather(a, b, r, x.o, o);
    gather(a, b, r, x.d_o, d_o);

    probabilities(k, a, b, r, q, {x.k + first, ld}, buffer, p, pieces.s);
    pack_left_transposed_here(t, transposed, {p, r.keys});
    multiply_here(k, product(transposed, Right::of({d_o, a.head_size}, r.rows, a.head_size), x.dv + first, ld, true), pieces.s);

    pack_left_here(t, queries, {d_o, a.head_size});
    multiply_here(k, product(queries, Right::transposed({x.v + first, ld}, a.head_size, r.keys), ds, r.keys), pieces.s);
    score_gradient(k, a, b, r, p, o, d_o, ds);

    pack_left_here(t, scores, {ds, r.keys});
    multiply_here(k, product(scores, Right::of({x.k + first, ld}, r.keys, a.head_size), dq, a.head_size, false, a.scale), pieces.s);
    scatter(a, b, r, dq, x.dq);
    pack_left_transposed_here(t, transposed, {ds, r.keys});
    multiply_here(k, product(transposed, Right::of({q, a.head_size}, r.rows, a.head_size), x.dk + first, ld, true, a.scale), pieces.s);
}

} // namespace

void attention_backward(const Compute & c, const AttentionShape & a, const QueryBlock * blocks, int n, const float * q, const float * k, const float * v,
    const float * o, const float * d_o, float * dq, float * dk, float * dv) {
    const Gradients x = {q, k, v, o, d_o, dq, dk, dv};
    c.pool->run(n, [&](int at, int thread) {
        const QueryBlock & whole = blocks[at];
        for (size_t t = whole.s.begin; t < (size_t) whole.s.end; t++) {
            memset(dk + t*a.kv_width() + whole.kv_head*a.head_size, 0, a.head_size*sizeof(float));
            memset(dv + t*a.kv_width() + whole.kv_head*a.head_size, 0, a.head_size*sizeof(float));
        }
        const int step = queries_per_block(a);
        for (int begin = whole.begin; begin < whole.end; begin += step) {
            block_backward(c.kernels, a, {whole.s, whole.kv_head, begin, std::min(begin + step, whole.end)}, x, c.scratch[thread]);
        }
    });
}

} // namespace lq
