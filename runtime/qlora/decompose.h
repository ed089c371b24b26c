// Adapters that begin as a part of the weight: its largest singular triples (PiSSA, Meng et al. 2024) or the first columns of its
// QR decomposition (OLoRA, Büyükakyüz 2024). W is read in place and never changes: what PEFT takes away from the weight, scale * B0 A0,
// is the second half of the adapter, [B, -B0] [A; A0], which is not trained. So the adapter computes exactly the base before the
// first step, and after the last it is what PEFT saves with path_initial_model_for_weight_conversion, of rank 2r.
//
// LoftQ (Li et al. 2023) begins with the largest singular triples of what the weight W0 before quantization has beyond W: then
// W + scale B A is the best approximation of W0. W never changes, so that there is one such step and nothing to take away.
#pragma once
#include "adapter_trainer.h"

namespace lq {

// Whether a module begins with a part of its weight, so that its rank in the trainer is twice that of the options.
inline bool of_weight(const lq_module & m) { return m.init == LQ_INIT_PISSA || m.init == LQ_INIT_OLORA; }

// Whether its first values are those of a decomposition.
inline bool decomposed(const lq_module & m) { return of_weight(m) || m.init == LQ_INIT_LOFTQ; }

// What the decompositions of a trainer's modules compute in, one after the other. Products are of single precision.
struct DecomposeSpace {
    float * x = nullptr, * y = nullptr; // (k, n_in), (k, n_out) of the module with the largest ones
    float * left = nullptr;             // either of them packed
    float * turned = nullptr;           // (k, n_out), of originals whose rows lie in another order
    double * gram = nullptr, * vectors = nullptr; // (k, k)
    std::vector<float *> rows;          // per thread (2*LQ_READ_ROWS, widest input)
    std::vector<Scratch> scratch;       // per thread
};

// Allocates what the modules of the options need; nothing where none begins with a part of its weight.
void allocate_decompose(Arena & arena, const lq_model & model, const lq_options & options, DecomposeSpace & s);

// Computes the first values of one such module, slice by slice.
class Decompose {
public:
    // All must outlive it. limit: operations of a slice.
    Decompose(const Lora & l, const lq_module & m, const DecomposeSpace & s, Pool * pool, int isa, double limit);
    bool slice(); // true: the values are there

private:
    bool plan(); // the next slices; false: there are none
    void plan_comparison();
    void plan_forward();
    void plan_backward();
    int original_row(int row) const; // where the original has a row
    void plan_pissa_iteration();
    void plan_orthonormal(float * rows, int n, int width);
    void plan_product(const float * rows, int depth, Right w, float * out);
    void plan_ritz();
    void plan_sweep(); // of Jacobi's method over gram
    void plan_pissa_end();
    void plan_olora();
    void plan_second_half();
    double largest_values(std::vector<int> & order) const; // of gram's diagonal: their sum, and where all are, falling

    const Lora & l;
    const lq_module & m;
    const DecomposeSpace & space;
    Compute compute;
    Schedule inner;
    int k;                 // vectors that are iterated
    enum Phase { begin, iterate, ritz, sweeps, end, second_half, done } phase = begin;
    int iterations = 0, sweep = 0;
    double captured = 0;   // sum of the r largest squares of singular values, as last found
    bool last = false;     // these are the values
};

} // namespace lq
