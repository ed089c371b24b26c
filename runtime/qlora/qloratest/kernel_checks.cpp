// Every fast kernel compared with its scalar reference, on random numbers.
#include "../random.h"
#include "plain.h"
#include "sample.h"
#include "weights.h"
#include <algorithm>
#include <math.h>
#include <memory>
#include <vector>

namespace {

using namespace lq;

typedef std::vector<float> Floats;

struct Draw {
    uint64_t key, i = 0;
    explicit Draw(uint64_t seed) : key(random_key(seed, 5)) {}
    Floats floats(size_t n) {
        Floats x(n);
        for (float & v : x) {
            v = 4*random_unit(key, i++) - 2;
        }
        return x;
    }
};

double difference(const Floats & got, const Floats & want) {
    double worst = 0, square = 0;
    for (size_t i = 0; i < got.size(); i++) {
        const double d = fabs((double) got[i] - want[i]);
        if (!(d <= worst)) { // a NaN counts as the worst
            worst = d;
        }
        square += (double) want[i]*want[i];
    }
    return worst/std::max(1e-30, sqrt(square/got.size()));
}

// Threads with scratch for products and attention of the given size.
struct Bench {
    Pool pool;
    std::vector<Floats> memory;
    std::vector<Scratch> scratch;
    Compute compute = {};
    Bench(int isa, int threads, size_t floats) : pool(threads), memory(threads), scratch(threads) {
        for (int i = 0; i < threads; i++) {
            memory[i].resize(floats + 16);
            void * at = memory[i].data();
            size_t room = memory[i].size()*sizeof(float);
            scratch[i] = {(float *) std::align(64, floats*sizeof(float), at, room), floats};
        }
        compute = {kernels_for(isa), &pool, scratch.data()};
    }
};

Floats transpose(const Floats & x, int rows, int cols) {
    Floats y(x.size());
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < cols; c++) {
            y[(size_t) c*rows + r] = x[(size_t) r*cols + c];
        }
    }
    return y;
}

} // namespace

double lq_check_fill(int isa, int kind, int n_in, int n_out, uint64_t seed) {
    const Kernels k = kernels_for(isa);
    const MadeWeight m = make_weight(kind, Draw(seed).floats((size_t) n_in*n_out).data(), n_in, n_out);
    if (!k.tile || m.weight.kind == LQ_NONE) {
        return -1;
    }
    const int rows = (n_out + 15)/16*16; // a Fill by column writes whole strips
    Floats got((size_t) rows*n_in), want((size_t) n_out*n_in);
    const bool by_column = filled_by_column(m.weight.kind);
    for (int c = 0; c < n_in; c += 64) { // in pieces, as the products ask for them
        const int some = std::min(64, n_in - c);
        k.fills[m.weight.kind](m.weight, 0, n_out, c, some, by_column ? &got[(size_t) c*rows] : &got[c], by_column ? rows : n_in);
    }
    for (int r = 0; r < n_out; r++) {
        plain_row(m.weight, r, &want[(size_t) r*n_in]);
    }
    if (by_column) {
        got = transpose(got, n_in, rows);
    }
    got.resize(want.size());
    return difference(got, want);
}

double lq_check_product(int isa, int form, int kind, int rows, int depth, int cols, int rank, int transposed, int accumulate, int threads, uint64_t seed) {
    const Kernels k = kernels_for(isa);
    if (!k.tile) {
        return -1;
    }
    Draw draw(seed);
    const bool weight = form >= LQ_FORM_FORWARD;
    const int n_in = form == LQ_FORM_FORWARD ? depth : cols, n_out = form == LQ_FORM_FORWARD ? cols : depth;
    const Floats x = draw.floats((size_t) rows*depth), y = draw.floats((size_t) depth*cols), x2 = draw.floats((size_t) rows*rank), y2 = draw.floats((size_t) rank*cols);
    const MadeWeight made = weight ? make_weight(kind, y.data(), n_in, n_out) : MadeWeight();
    if (weight && made.weight.kind == LQ_NONE) {
        return -1;
    }
    const Matrix m = {y.data(), form == LQ_FORM_BY_DEPTH ? cols : depth};
    const Right b = form == LQ_FORM_BY_DEPTH ? Right::of(m, depth, cols) : form == LQ_FORM_BY_COLUMN ? Right::transposed(m, depth, cols) :
        form == LQ_FORM_FORWARD ? Right::forward(made.weight) : Right::backward(made.weight);
    const Right b2 = Right::of({y2.data(), cols}, rank, cols);

    Bench bench(isa, threads, scratch_floats(*k.tile, depth, rank));
    Floats packed(left_floats(*k.tile, rows, depth)), packed2(left_floats(*k.tile, rows, rank));
    std::vector<ByteBlock> bytes;
    if (k.bytes && form == LQ_FORM_FORWARD && byte_zero(made.weight.kind) >= 0 && !transposed) {
        bytes.resize((rows + BYTE_ROWS - 1)/BYTE_ROWS*(depth/BYTE_DEPTH));
    }
    const Left a = {(Unit *) packed.data(), rows, depth, bytes.empty() ? nullptr : bytes.data()}, a2 = {(Unit *) packed2.data(), rows, rank, nullptr};
    const Floats swapped = transpose(x, rows, depth);
    if (transposed) {
        pack_left_transposed(bench.compute, a, {swapped.data(), rows});
    } else {
        pack_left(bench.compute, a, {x.data(), depth});
    }
    pack_left(bench.compute, a2, {x2.data(), rank});
    const int ld = cols + 3;
    Floats got = draw.floats((size_t) rows*ld), want = got;
    const float alpha = bytes.empty() ? 0.5f : 1;
    Product p = product(a, b, got.data(), ld, accumulate, alpha);
    if (rank) {
        p.a2 = a2;
        p.b2 = b2;
    }
    const int middle = panels_of(p)/2;
    multiply(bench.compute, p, 0, middle);
    multiply(bench.compute, p, middle, panels_of(p));
    if (bytes.empty()) {
        plain_multiply(x.data(), b, rank ? x2.data() : nullptr, b2, rows, accumulate, alpha, want.data(), ld);
    } else {
        plain_byte_product(x.data(), made.weight, rows, accumulate, want.data(), ld);
        plain_multiply(x2.data(), b2, nullptr, b2, rank ? rows : 0, true, 1, want.data(), ld);
    }
    return difference(got, want);
}

namespace {

double check_adamw(Bench & bench, Draw & draw, size_t n) {
    const Adam a = {0.01f, 0.9f, 0.999f, 1e-8f, 0.1f, 0.3f, 0.02f, 0.7f};
    Floats w = draw.floats(n), g = draw.floats(n), m = draw.floats(n), v = draw.floats(n);
    for (float & x : v) {
        x = fabsf(x);
    }
    Floats w2 = w, m2 = m, v2 = v;
    adamw(bench.compute, a, n, w.data(), g.data(), m.data(), v.data());
    plain_adamw(a, n, w2.data(), g.data(), m2.data(), v2.data());
    double square = 0;
    for (float x : g) {
        square += (double) x*x;
    }
    const double norm = fabs(sum_of_squares(bench.compute, g.data(), n) - square)/square;
    return std::max({difference(w, w2), difference(m, m2), difference(v, v2), norm});
}

double check_loss(Bench & bench, Draw & draw, int rows, int n, bool gradient) {
    Floats x = draw.floats((size_t) rows*n), y = x, loss, loss2;
    std::vector<int> labels(rows);
    Floats factors(rows);
    for (int t = 0; t < rows; t++) {
        labels[t] = t % n;
        factors[t] = 0.25f*(float) (t % 4 - 2); // negative ones and zero, too
    }
    std::vector<RowLoss> l(rows), l2(rows);
    cross_entropy(bench.compute, x.data(), rows, n, labels.data(), gradient ? factors.data() : nullptr, l.data());
    plain_cross_entropy(y.data(), rows, n, labels.data(), gradient ? factors.data() : nullptr, l2.data());
    for (int t = 0; t < rows; t++) {
        loss.push_back(l[t].loss);
        loss2.push_back(l2[t].loss);
        loss.push_back(l[t].entropy);
        loss2.push_back(l2[t].entropy);
        if (l[t].correct != l2[t].correct) {
            return 1;
        }
    }
    return std::max(difference(loss, loss2), difference(x, y));
}

} // namespace

double lq_check_small(int isa, int which, int rows, int n, int threads, uint64_t seed) {
    if (!kernels_for(isa).tile) {
        return -1;
    }
    Bench bench(isa, threads, 0);
    const Compute & c = bench.compute;
    Draw draw(seed);
    const size_t all = (size_t) rows*n;
    Floats x = draw.floats(all), x2 = draw.floats(all), y = draw.floats(all), w = draw.floats(n), z(all), y2 = y, z2(all);
    const Floats cos = draw.floats(all/2), sin = draw.floats(all/2);
    double worst = 0;
    switch (which) {
    case LQ_NORM:
        rms_norm(c, x.data(), w.data(), 1e-5f, rows, n, y.data());
        plain_rms_norm(x.data(), w.data(), 1e-5f, rows, n, y2.data());
        break;
    case LQ_NORM_BACKWARD:
        rms_norm_backward(c, x.data(), w.data(), x2.data(), 1e-5f, rows, n, y.data(), true);
        plain_rms_norm_backward(x.data(), w.data(), x2.data(), 1e-5f, rows, n, y2.data(), true);
        rms_norm_backward(c, x.data(), w.data(), y.data(), 1e-5f, rows, n, y.data(), false); // in place
        plain_rms_norm_backward(x.data(), w.data(), y2.data(), 1e-5f, rows, n, y2.data(), false);
        break;
    case LQ_ROPE:
    case LQ_ROPE_BACKWARD:
        for (bool neox : {false, true}) {
            const Rotary r = {cos.data(), sin.data(), n, neox};
            which == LQ_ROPE ? rope(c, r, y.data(), rows, 1) : rope_backward(c, r, y.data(), rows, 1);
            plain_rope(r, y2.data(), rows, 1, which == LQ_ROPE_BACKWARD);
        }
        break;
    case LQ_SWIGLU:
        swiglu(c, x.data(), x2.data(), all, y.data());
        plain_swiglu(x.data(), x2.data(), all, y2.data());
        break;
    case LQ_SWIGLU_BACKWARD:
        swiglu_backward(c, x.data(), x2.data(), all, y.data(), z.data());
        plain_swiglu_backward(x.data(), x2.data(), all, y2.data(), z2.data());
        worst = difference(z, z2);
        break;
    case LQ_LOSS: return check_loss(bench, draw, rows, n, false);
    case LQ_LOSS_GRADIENT: return check_loss(bench, draw, rows, n, true);
    case LQ_ADAMW: return check_adamw(bench, draw, all);
    case LQ_DROPOUT:
        dropout(c, x.data(), rows, n, seed, 0.3f, y.data());
        plain_dropout(x.data(), rows, n, seed, 0.3f, y2.data());
        break;
    case LQ_NORM_WEIGHT: {
        Floats got = w, inverse(rows);
        rms_norm_weight_backward(c, x.data(), x2.data(), 1e-5f, rows, n, inverse.data(), got.data());
        plain_rms_norm_weight_backward(x.data(), x2.data(), 1e-5f, rows, n, w.data());
        return difference(got, w);
    }
    default: return -1;
    }
    return std::max(worst, difference(y, y2));
}

double lq_check_attention(int isa, int backward, int heads, int kv_heads, int head_size, const int * lengths, int n, int threads, uint64_t seed) {
    const Kernels k = kernels_for(isa);
    if (!k.tile) {
        return -1;
    }
    const AttentionShape a = {heads, kv_heads, head_size, 1/sqrtf((float) head_size)};
    std::vector<Sequence> sequences;
    int T = 0;
    for (int i = 0; i < n; i++) {
        sequences.push_back({T, T + lengths[i]});
        T += lengths[i];
    }
    Draw draw(seed);
    const size_t nq = (size_t) T*a.q_width(), nkv = (size_t) T*a.kv_width();
    const Floats q = draw.floats(nq), key = draw.floats(nkv), v = draw.floats(nkv), d_o = draw.floats(nq);
    Floats o(nq), o2(nq), dq(nq), dq2(nq), dk(nkv), dk2(nkv), dv(nkv), dv2(nkv);
    Bench bench(isa, threads, attention_scratch_floats(*k.tile, a, T));
    const std::vector<QueryBlock> blocks = query_blocks(a, sequences), wholes = whole_blocks(a, sequences);
    attention(bench.compute, a, blocks.data(), (int) blocks.size(), q.data(), key.data(), v.data(), o.data());
    if (!backward) {
        plain_attention(a, sequences, q.data(), key.data(), v.data(), o2.data());
        return difference(o, o2);
    }
    attention_backward(bench.compute, a, wholes.data(), (int) wholes.size(), q.data(), key.data(), v.data(), o.data(), d_o.data(), dq.data(), dk.data(), dv.data());
    plain_attention_backward(a, sequences, q.data(), key.data(), v.data(), d_o.data(), dq2.data(), dk2.data(), dv2.data());
    for (Floats * x : {&dk, &dv}) { // measured together: a sequence of one token has dq = dk = 0
        dq.insert(dq.end(), x->begin(), x->end());
    }
    for (Floats * x : {&dk2, &dv2}) {
        dq2.insert(dq2.end(), x->begin(), x->end());
    }
    return difference(dq, dq2);
}
