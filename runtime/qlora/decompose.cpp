// See decompose.h. The singular triples are found by subspace iteration (Halko, Martinsson & Tropp 2011, algorithm 4.4) with more
// vectors than are wanted, and the Rayleigh-Ritz procedure on the small matrix of their products.
#include "random.h"
#include "read.h"
#include "trainer.h"
#include <algorithm>
#include <math.h>
#include <numeric>
#include <string.h>

namespace lq {

namespace {

enum {
    MORE_VECTORS = 16,    // than are wanted, so that the last of these converge, too
    MOST_ITERATIONS = 96, // of PiSSA's exact form
    BETWEEN_LOOKS = 6,    // iterations, after each of which what is captured is looked at
    MOST_SWEEPS = 16,
};
constexpr double CONVERGED = 1e-7;  // growth of what is captured
constexpr double LOFTQ_CONVERGED = 1e-5; // what quantization loses has singular values that hardly differ: which of them are captured does not matter
constexpr double OFF_DIAGONAL = 1e-11;
constexpr double DOUBLE_COST = 4;   // of an operation in double precision, without vectors

double dot(const float * a, const float * b, int n) {
    enum { LANES = 8 };
    double sum[LANES] = {};
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            sum[j] += (double) a[i + j]*b[i + j];
        }
    }
    for (; i < n; i++) {
        sum[0] += (double) a[i]*b[i];
    }
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

int vectors_of(const lq_module & m, int n_in, int n_out) {
    const int most = std::min(n_in, n_out), more = m.init_iterations > 0 ? 0 : std::max((int) MORE_VECTORS, m.rank/2); // as torch.svd_lowrank has none
    return m.init == LQ_INIT_OLORA ? m.rank : std::min(most, m.rank + more);
}

} // namespace

void allocate_decompose(Arena & arena, const lq_model & model, const lq_options & o, DecomposeSpace & s) {
    size_t parameters, x = 0, y = 0, turned = 0, left = 0, scratch = 0, square = 0, widest = 0;
    const Tile & t = *kernels_for(exact_isa(o.isa)).tile;
    const std::vector<Lora> loras = adapters_of(model, o, &parameters);
    for (int i = 0; i < o.n_modules; i++) {
        const lq_module & m = o.modules[i];
        if (!decomposed(m)) {
            continue;
        }
        const int n_in = loras[i].n_in, n_out = loras[i].n_out, k = vectors_of(m, n_in, n_out), longest = std::max(n_in, n_out);
        x = std::max(x, (size_t) k*n_in);
        y = std::max(y, (size_t) k*n_out);
        turned = std::max(turned, m.init == LQ_INIT_LOFTQ && m.original_heads ? (size_t) k*n_out : 0);
        left = std::max(left, left_floats(t, k, longest));
        scratch = std::max(scratch, scratch_floats(t, longest, 0));
        square = std::max(square, (size_t) k*k);
        widest = std::max(widest, (size_t) n_in);
    }
    s = {};
    if (x == 0) {
        return;
    }
    s.x = arena.floats(x);
    s.y = arena.floats(y);
    s.left = arena.floats(left);
    s.turned = arena.floats(turned);
    s.gram = (double *) arena.floats(2*square);
    s.vectors = (double *) arena.floats(2*square);
    for (int i = 0; i < o.threads; i++) {
        s.rows.push_back(arena.floats(2*LQ_READ_ROWS*widest));
        s.scratch.push_back({arena.floats(scratch), scratch});
    }
}

Decompose::Decompose(const Lora & lora, const lq_module & module, const DecomposeSpace & s, Pool * pool, int isa, double limit)
    : l(lora), m(module), space(s), compute{kernels_for(exact_isa(isa)), pool, const_cast<Scratch *>(s.scratch.data())}, inner(limit),
      k(vectors_of(module, lora.n_in, lora.n_out)) {}

bool Decompose::slice() {
    if (inner.finished()) {
        inner.clear();
        if (!plan()) {
            return true;
        }
    }
    inner.run_next();
    return false;
}

bool Decompose::plan() {
    switch (phase) {
    case begin:
        if (m.init == LQ_INIT_OLORA) {
            plan_olora();
            phase = second_half;
        } else {
            if (m.init == LQ_INIT_LOFTQ) {
                plan_comparison();
            }
            inner.ranges(k, [this](int) { return 40.0*l.n_in; }, [this](int from, int to) {
                compute.pool->run(to - from, [&](int i, int) {
                    float * x = space.x + (size_t) (from + i)*l.n_in;
                    const uint64_t key = random_key(l.key, 0x51534450 + from + i);
                    for (int j = 0; j < l.n_in; j++) {
                        x[j] = random_normal(key, j);
                    }
                });
            });
            phase = iterate;
        }
        return true;
    case iterate:
        plan_pissa_iteration();
        iterations++;
        last = iterations == (m.init_iterations > 0 ? m.init_iterations : (int) MOST_ITERATIONS);
        phase = last || (m.init_iterations == 0 && iterations % BETWEEN_LOOKS == 0) ? ritz : iterate;
        return true;
    case ritz:
        plan_ritz();
        sweep = 0;
        phase = sweeps;
        return true;
    case sweeps:
        plan_sweep();
        return true;
    case end:
        plan_pissa_end();
        phase = of_weight(m) ? second_half : done;
        return true;
    case second_half:
        plan_second_half();
        phase = done;
        return true;
    default:
        return false;
    }
}

// out (k, w.cols) = rows (k, depth) * w
void Decompose::plan_product(const float * rows, int depth, Right w, float * out) {
    const Left left = {(Unit *) space.left, k, depth, nullptr};
    inner.add([=] { pack_left(compute, left, {rows, depth}); });
    inner.multiply(compute, product(left, w, out, w.cols));
}

// Makes the rows orthonormal: modified Gram-Schmidt, twice (Giraud et al. 2005). A row that the others span becomes zero.
void Decompose::plan_orthonormal(float * rows, int n, int width) {
    for (int pass = 0; pass < 2; pass++) {
        inner.ranges(n, [=](int i) { return DOUBLE_COST*4.0*(n - i)*width; }, [=](int from, int to) {
            for (int i = from; i < to; i++) {
                float * row = rows + (size_t) i*width;
                const double norm = sqrt(dot(row, row, width));
                const float factor = norm > 1e-30 ? (float) (1/norm) : 0;
                for (int c = 0; c < width; c++) {
                    row[c] *= factor;
                }
                compute.pool->run(n - i - 1, [&](int j, int) {
                    float * other = rows + (size_t) (i + 1 + j)*width;
                    const float along = (float) dot(row, other, width);
                    for (int c = 0; c < width; c++) {
                        other[c] -= along*row[c];
                    }
                });
            }
        });
    }
}

void Decompose::plan_pissa_iteration() {
    plan_orthonormal(space.x, k, l.n_in);
    plan_forward();
    plan_orthonormal(space.y, k, l.n_out);
    plan_backward();
}

// gram = Y Y^T with Y = X W^T, and vectors = 1
void Decompose::plan_ritz() {
    plan_orthonormal(space.x, k, l.n_in);
    plan_forward();
    inner.ranges(k, [this](int i) { return DOUBLE_COST*2.0*(k - i)*l.n_out; }, [this](int from, int to) {
        for (int i = from; i < to; i++) {
            compute.pool->run(k - i, [&](int n, int) {
                const int j = i + n;
                const double product = dot(space.y + (size_t) i*l.n_out, space.y + (size_t) j*l.n_out, l.n_out);
                space.gram[(size_t) i*k + j] = space.gram[(size_t) j*k + i] = product;
                space.vectors[(size_t) i*k + j] = space.vectors[(size_t) j*k + i] = i == j;
            });
        }
    });
}

namespace {

// One rotation of Jacobi's method, which makes element (p, q) of a symmetric matrix zero. Rows of `vectors` are turned with it.
void rotate(double * a, double * vectors, int k, int p, int q) {
    const double apq = a[(size_t) p*k + q];
    if (apq == 0) {
        return;
    }
    const double theta = (a[(size_t) q*k + q] - a[(size_t) p*k + p])/(2*apq);
    const double t = (theta >= 0 ? 1 : -1)/(fabs(theta) + sqrt(theta*theta + 1)), c = 1/sqrt(t*t + 1), s = t*c;
    for (int i = 0; i < k; i++) { // columns
        double & x = a[(size_t) i*k + p], & y = a[(size_t) i*k + q];
        const double was = x;
        x = c*was - s*y;
        y = s*was + c*y;
    }
    for (double * of : {a, vectors}) { // rows
        double * x = of + (size_t) p*k, * y = of + (size_t) q*k;
        for (int i = 0; i < k; i++) {
            const double was = x[i];
            x[i] = c*was - s*y[i];
            y[i] = s*was + c*y[i];
        }
    }
}

} // namespace

double Decompose::largest_values(std::vector<int> & order) const {
    order.resize(k);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [this](int i, int j) { return space.gram[(size_t) i*k + i] > space.gram[(size_t) j*k + j]; });
    double sum = 0;
    for (int i = 0; i < l.trained; i++) {
        sum += space.gram[(size_t) order[i]*k + order[i]];
    }
    return sum;
}

void Decompose::plan_sweep() {
    inner.ranges(k, [this](int p) { return DOUBLE_COST*9.0*k*(k - p); }, [this](int from, int to) {
        for (int p = from; p < to; p++) {
            for (int q = p + 1; q < k; q++) {
                rotate(space.gram, space.vectors, k, p, q);
            }
        }
    });
    inner.add([this] {
        double off = 0, all = 0;
        for (int i = 0; i < k; i++) {
            for (int j = 0; j < k; j++) {
                const double square = space.gram[(size_t) i*k + j]*space.gram[(size_t) i*k + j];
                all += square;
                off += i == j ? 0 : square;
            }
        }
        if (off > OFF_DIAGONAL*OFF_DIAGONAL*all && ++sweep < MOST_SWEEPS) {
            return;
        }
        std::vector<int> order;
        const double now = largest_values(order);
        last = last || now - captured <= (of_weight(m) ? CONVERGED : LOFTQ_CONVERGED)*now;
        captured = now;
        phase = last ? end : iterate;
    });
}

// With Y's rows turned by the eigenvectors, row i is sigma_i u_i and that of X is v_i: A = sqrt(sigma/scale) v, B = sqrt(sigma/scale) u.
void Decompose::plan_pissa_end() {
    auto order = std::make_shared<std::vector<int>>();
    inner.add([=] { largest_values(*order); });
    inner.ranges(l.trained, [this](int) { return 2.0*k*(l.n_in + l.n_out); }, [=](int from, int to) {
        compute.pool->run(to - from, [&](int n, int) {
            const int i = from + n, at = (*order)[i];
            const double sigma = sqrt(std::max(0.0, space.gram[(size_t) at*k + at])), factor = sqrt(sigma/l.scale);
            const auto turned = [&](const float * rows, int width, double times, float * out) {
                std::fill(out, out + width, 0.0f);
                for (int j = 0; j < k; j++) {
                    const float c = (float) (times*space.vectors[(size_t) at*k + j]);
                    const float * row = rows + (size_t) j*width;
                    for (int x = 0; x < width; x++) {
                        out[x] += c*row[x];
                    }
                }
            };
            turned(space.x, l.n_in, factor, l.a + (size_t) i*l.n_in);
            turned(space.y, l.n_out, sigma > 0 ? factor/sigma : 0, l.b + (size_t) i*l.n_out);
        });
    });
}

// B = Q, the orthonormalised first r columns of W, and A = Q^T W, the first rows of R.
void Decompose::plan_olora() {
    const int groups = (l.n_out + LQ_READ_ROWS - 1)/LQ_READ_ROWS;
    inner.ranges(groups, [this](int) { return 4.0*LQ_READ_ROWS*l.n_in; }, [this](int from, int to) {
        compute.pool->run(to - from, [&](int i, int thread) {
            const lq_low_rank nothing = {};
            const int row = (from + i)*LQ_READ_ROWS, rows = std::min((int) LQ_READ_ROWS, l.n_out - row);
            float * read = space.rows[thread];
            lq_read_rows(l.w, &nothing, row, rows, read, read + (size_t) LQ_READ_ROWS*l.n_in);
            for (int r = 0; r < rows; r++) {
                for (int c = 0; c < k; c++) {
                    l.b[(size_t) c*l.n_out + row + r] = read[(size_t) r*l.n_in + c];
                }
            }
        });
    });
    plan_orthonormal(l.b, k, l.n_out);
    plan_product(l.b, l.n_out, Right::backward(*l.w), l.a);
}

// [A; A] and [B, -B]: the second half is what the weight would have lost.
void Decompose::plan_second_half() {
    inner.ranges(l.trained, [this](int) { return 4.0*(l.n_in + l.n_out); }, [this](int from, int to) {
        for (int i = from; i < to; i++) {
            memcpy(l.a + (size_t) (l.trained + i)*l.n_in, l.a + (size_t) i*l.n_in, l.n_in*sizeof(float));
            for (int o = 0; o < l.n_out; o++) {
                l.b[(size_t) (l.trained + i)*l.n_out + o] = -l.b[(size_t) i*l.n_out + o];
            }
        }
    });
}

void Trainer::schedule_decompositions() {
    for (size_t i = 0; i < loras.size(); i++) {
        if (!decomposed(modules[i])) {
            continue;
        }
        auto of = std::make_shared<Decompose>(loras[i], modules[i], w.decompose, pool.get(), options.isa, schedule.slice_cost());
        schedule.add_repeated([of] { return of->slice(); });
    }
}

} // namespace lq
