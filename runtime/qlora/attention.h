// What the two directions of attention share: a block of queries, its scores, and the memory for them.
#pragma once
#include "ops.h"

namespace lq {

// All heads of a group are done together, one below the other: row g*stride + i is query begin+i of the g-th
// head, and rows up to a multiple of every tile's height are zero. Keys are those of the sequence up to the
// block's last query.
struct BlockRows {
    int queries, stride, rows, keys;
    BlockRows(const AttentionShape & a, const QueryBlock & b);
};

// Queries per block, so that a block has about 192 rows, whatever the group.
int queries_per_block(const AttentionShape & a);

// Gives out a thread's scratch piece by piece.
struct ScratchAllocator {
    Scratch s;
    float * take(size_t floats);
};

// Copies a block's rows from x (T, heads*head_size) to out (rows, head_size), and zeros between.
void gather(const AttentionShape & a, const QueryBlock & b, const BlockRows & r, const float * x, float * out);
// Copies them back.
void scatter(const AttentionShape & a, const QueryBlock & b, const BlockRows & r, const float * in, float * x);

// p (rows, keys): the softmax of q k^T under the causal mask; q (rows, head_size) as gathered. buffer holds a packed A.
void probabilities(const Kernels & k, const AttentionShape & a, const QueryBlock & b, const BlockRows & r, const float * q, Matrix keys, Unit * buffer,
    float * p, Scratch s);

// The keys that query i of a block may see.
inline int visible(const QueryBlock & b, int i) { return b.begin + i - b.s.begin + 1; }

} // namespace lq
