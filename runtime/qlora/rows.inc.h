// The source of RowKernels for every instruction set. Included by rows_*.cpp after they have chosen an instruction set.
#include "rows.h"
#include "random.h"
#include "vec.h"

namespace lq {
namespace {

float dot(const float * a, const float * b, int n) {
    vec s = {};
    for (int i = 0; i < n; i += LANES) {
        s += load_part(a + i, n - i)*load_part(b + i, n - i);
    }
    return sum(s);
}

float inverse_rms(const float * x, float eps, int n) { return 1.0f/__builtin_sqrtf(dot(x, x, n)/n + eps); }

void rms_norm(const float * x, const float * w, float eps, int n, float * y) {
    const float r = inverse_rms(x, eps, n);
    for (int i = 0; i < n; i++) {
        y[i] = x[i]*r*w[i];
    }
}

void rms_norm_backward(const float * x, const float * w, const float * dy, float eps, int n, float * dx, bool accumulate) {
    const float r = inverse_rms(x, eps, n);
    vec s = {};
    for (int i = 0; i < n; i += LANES) {
        s += load_part(x + i, n - i)*load_part(w + i, n - i)*load_part(dy + i, n - i);
    }
    const float k = sum(s)*r*r*r/n;
    for (int i = 0; i < n; i++) {
        dx[i] = (accumulate ? dx[i] : 0.0f) + (dy[i]*w[i]*r - x[i]*k);
    }
}

void add_product(const float * x, const float * y, float factor, int n, float * to) {
    for (int i = 0; i < n; i++) {
        to[i] += x[i]*y[i]*factor;
    }
}

void rope(float * x, int heads, int head_size, const float * cos, const float * sin, bool neox, float direction) {
    const int half = head_size/2;
    for (int h = 0; h < heads; h++, x += head_size) {
        for (int i = 0; i < half; i++) {
            float * a = neox ? x + i : x + 2*i, * b = neox ? x + i + half : x + 2*i + 1;
            const float u = *a, v = *b, s = sin[i]*direction;
            *a = u*cos[i] - v*s;
            *b = v*cos[i] + u*s;
        }
    }
}

void softmax(float * s, int n) {
    vec top = splat(-3.0e38f);
    for (int i = 0; i < n; i += LANES) {
        top = max(top, keep_first(load_part(s + i, n - i), n - i, -3.0e38f));
    }
    const float m = biggest(top);
    vec total = {};
    for (int i = 0; i < n; i += LANES) {
        const vec e = keep_first(exp(load_part(s + i, n - i) - m), n - i, 0.0f);
        total += e;
        store_part(s + i, e, n - i);
    }
    const float r = 1.0f/sum(total);
    for (int i = 0; i < n; i++) {
        s[i] *= r;
    }
}

void softmax_backward(const float * p, float * ds, float delta, int n) {
    for (int i = 0; i < n; i++) {
        ds[i] = p[i]*(ds[i] - delta);
    }
}

void swiglu(const float * gate, const float * up, int n, float * y) {
    for (int i = 0; i < n; i += LANES) {
        const vec g = load_part(gate + i, n - i);
        store_part(y + i, g*sigmoid(g)*load_part(up + i, n - i), n - i);
    }
}

void swiglu_backward(const float * gate, const float * up, int n, float * dy, float * d_up) {
    for (int i = 0; i < n; i += LANES) {
        const vec g = load_part(gate + i, n - i), u = load_part(up + i, n - i), d = load_part(dy + i, n - i);
        const vec s = sigmoid(g);
        store_part(d_up + i, d*(g*s), n - i);
        store_part(dy + i, d*u*(s*(g*(1.0f - s) + 1.0f)), n - i);
    }
}

RowLoss cross_entropy(float * logits, int n, int label, const float * factor) {
    vec top = splat(-3.0e38f);
    for (int i = 0; i < n; i += LANES) {
        top = max(top, keep_first(load_part(logits + i, n - i), n - i, -3.0e38f));
    }
    const float m = biggest(top), own = logits[label];
    vec total = {}, moment = {}; // sums of e^x and of x e^x, with x from the largest logit on
    for (int i = 0; i < n; i += LANES) {
        const vec x = load_part(logits + i, n - i) - m;
        const vec e = keep_first(exp(x), n - i, 0.0f);
        total += e;
        moment += e*x;
        if (factor) {
            store_part(logits + i, e, n - i);
        }
    }
    const float z = sum(total), log_z = __builtin_logf(z);
    if (factor) {
        const float r = *factor/z;
        for (int i = 0; i < n; i++) {
            logits[i] *= r;
        }
        logits[label] -= *factor;
    }
    return {log_z + m - own, log_z - sum(moment)/z, own >= m};
}

void dropout(const float * x, int n, uint64_t key, uint32_t keep_below, float scale, float * y) {
    for (int i = 0; i < n; i++) {
        y[i] = random_at(key, (uint32_t) i) < keep_below ? x[i]*scale : 0.0f;
    }
}

// sqrtf without errno, which is what it takes to vectorize it.
__attribute__((optimize("no-math-errno"))) void adamw(const Adam & a, int n, float * w, const float * g, float * m, float * v) {
    for (int i = 0; i < n; i++) {
        const float gi = g[i]*a.grad_scale;
        m[i] = a.beta1*m[i] + (1 - a.beta1)*gi;
        v[i] = a.beta2*v[i] + (1 - a.beta2)*gi*gi;
        const float step = (m[i]/a.correction1)/(__builtin_sqrtf(v[i]/a.correction2) + a.eps);
        w[i] -= a.lr*(step + a.weight_decay*w[i]);
    }
}

void add(const float * x, int n, float * y) {
    for (int i = 0; i < n; i++) {
        y[i] += x[i];
    }
}

const RowKernels row_kernels = {
    rms_norm, rms_norm_backward, inverse_rms, add_product, rope, softmax, softmax_backward, swiglu, swiglu_backward, cross_entropy, dropout, adamw, add, dot,
};

} // namespace
} // namespace lq
