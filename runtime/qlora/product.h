// Matrix products C (+)= alpha * (A1 B1 + A2 B2), where B may be a frozen weight that is decoded while it is
// packed, a panel of 32 columns at a time, for all rows of A. The second pair is the LoRA part, summed in the
// same registers: [x | scale*x*A^T] [W^T ; B^T].
//
// An element of C is summed by one thread in one order, whatever the number of threads.
#pragma once
#include "kernels.h"
#include "pool.h"

namespace lq {

enum { PANEL = 32 }; // columns of C that are done together

// A thread's own memory, of scratch_floats() or attention_scratch_floats().
struct Scratch {
    float * base;
    size_t floats;
};

// The kernels, threads and scratch memory that the operations compute with.
struct Compute {
    Kernels kernels;
    Pool * pool;
    Scratch * scratch; // one per thread of the pool
};

// A packed A: (rows, depth).
struct Left {
    Unit * data;
    int rows, depth;
    ByteBlock * bytes; // the same operand for products of bytes, which pack_left fills too; NULL: none
};

// Floats that hold a packed A, and its bytes.
size_t left_floats(const Tile & t, int rows, int depth);
size_t byte_floats(int rows, int depth);

// A row-major matrix: element (i, j) is data[i*ld + j].
struct Matrix {
    const float * data;
    ptrdiff_t ld;
};

// Packs a = scale * x, x (rows, depth); or, transposed, scale * x^T, x (depth, rows).
void pack_left(const Compute & c, Left a, Matrix x, float scale = 1);
void pack_left_transposed(const Compute & c, Left a, Matrix x, float scale = 1);

// The same on the calling thread.
void pack_left_here(const Tile & t, Left a, Matrix x);
void pack_left_transposed_here(const Tile & t, Left a, Matrix x);

// A B operand (depth, cols) and how it is read.
struct Right {
    enum Form { by_depth, by_column, weight, weight_transposed } form;
    int depth, cols;
    Matrix m;         // by_depth: x (depth, cols); by_column: x^T (cols, depth)
    const Weight * w; // weight: W^T, depth n_in; weight_transposed: W, depth n_out

    static Right of(Matrix m, int depth, int cols) { return {by_depth, depth, cols, m, nullptr}; }
    static Right transposed(Matrix m, int depth, int cols) { return {by_column, depth, cols, m, nullptr}; }
    static Right forward(const Weight & w) { return {weight, w.n_in, w.n_out, {}, &w}; }
    static Right backward(const Weight & w) { return {weight_transposed, w.n_out, w.n_in, {}, &w}; }
};

struct Product {
    Left a;
    Right b;
    float * c;
    ptrdiff_t ldc;
    bool accumulate;
    float alpha;
    Left a2; // data NULL: no second pair
    Right b2;
};

Product product(Left a, Right b, float * c, ptrdiff_t ldc, bool accumulate = false, float alpha = 1);

inline int panels_of(const Product & p) { return (p.b.cols + PANEL - 1)/PANEL; }
double flops_of(const Product & p);

// Floats of scratch that a product needs whose B is (depth, any), and whose second B is (depth2, any).
size_t scratch_floats(const Tile & t, int depth, int depth2);

// Computes the panels [begin, end) on all threads.
void multiply(const Compute & c, const Product & p, int begin, int end);

// Computes all of it on the calling thread with the scratch given.
void multiply_here(const Kernels & k, const Product & p, Scratch s);

} // namespace lq
