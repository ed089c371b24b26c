// The operations of a transformer layer in scalar loops, one thread.
#include "plain.h"
#include "../random.h"
#include <math.h>

namespace lq {

namespace {

double plain_inverse_rms(const float * x, float eps, int n) {
    double s = 0;
    for (int i = 0; i < n; i++) {
        s += (double) x[i]*x[i];
    }
    return 1/sqrt(s/n + eps);
}

} // namespace

void plain_rms_norm(const float * x, const float * w, float eps, int rows, int n, float * y) {
    for (int t = 0; t < rows; t++, x += n, y += n) {
        const double r = plain_inverse_rms(x, eps, n);
        for (int i = 0; i < n; i++) {
            y[i] = (float) (x[i]*r*w[i]);
        }
    }
}

void plain_rms_norm_backward(const float * x, const float * w, const float * dy, float eps, int rows, int n, float * dx, bool accumulate) {
    for (int t = 0; t < rows; t++, x += n, dy += n, dx += n) {
        const double r = plain_inverse_rms(x, eps, n);
        double s = 0; // of the part of dy along x
        for (int i = 0; i < n; i++) {
            s += (double) x[i]*w[i]*dy[i];
        }
        for (int i = 0; i < n; i++) {
            dx[i] = (float) ((accumulate ? dx[i] : 0.0) + dy[i]*w[i]*r - x[i]*s*r*r*r/n);
        }
    }
}

void plain_rms_norm_weight_backward(const float * x, const float * dy, float eps, int rows, int n, float * dw) {
    for (int i = 0; i < n; i++) {
        double s = dw[i];
        for (int t = 0; t < rows; t++) {
            s += (double) dy[(size_t) t*n + i]*x[(size_t) t*n + i]*plain_inverse_rms(x + (size_t) t*n, eps, n);
        }
        dw[i] = (float) s;
    }
}

void plain_rope(const Rotary & r, float * x, int T, int heads, bool backward) {
    const int half = r.head_size/2;
    for (int t = 0; t < T; t++) {
        for (int h = 0; h < heads; h++, x += r.head_size) {
            for (int i = 0; i < half; i++) {
                const int a = r.neox ? i : 2*i, b = r.neox ? i + half : 2*i + 1;
                const double cos = r.cos[t*half + i], sin = r.sin[t*half + i]*(backward ? -1 : 1);
                const double u = x[a], v = x[b];
                x[a] = (float) (u*cos - v*sin);
                x[b] = (float) (v*cos + u*sin);
            }
        }
    }
}

void plain_swiglu(const float * gate, const float * up, size_t n, float * y) {
    for (size_t i = 0; i < n; i++) {
        y[i] = (float) (gate[i]/(1 + exp(-(double) gate[i]))*up[i]);
    }
}

void plain_swiglu_backward(const float * gate, const float * up, size_t n, float * dy, float * d_up) {
    for (size_t i = 0; i < n; i++) {
        const double g = gate[i], s = 1/(1 + exp(-g)), d = dy[i];
        d_up[i] = (float) (d*g*s);
        dy[i] = (float) (d*up[i]*(s + g*s*(1 - s)));
    }
}

void plain_cross_entropy(float * logits, int rows, int n, const int * labels, const float * factors, RowLoss * losses) {
    for (int t = 0; t < rows; t++, logits += n) {
        double top = logits[0], total = 0, entropy = 0;
        for (int i = 1; i < n; i++) {
            top = logits[i] > top ? logits[i] : top;
        }
        for (int i = 0; i < n; i++) {
            total += exp(logits[i] - top);
        }
        for (int i = 0; i < n; i++) {
            const double p = exp(logits[i] - top)/total;
            entropy -= p > 0 ? p*log(p) : 0;
        }
        losses[t] = {(float) (log(total) + top - logits[labels[t]]), (float) entropy, logits[labels[t]] >= top};
        for (int i = 0; i < n && factors; i++) {
            logits[i] = (float) ((exp(logits[i] - top)/total - (i == labels[t]))*factors[t]);
        }
    }
}

void plain_adamw(const Adam & a, size_t n, float * w, const float * g, float * m, float * v) {
    for (size_t i = 0; i < n; i++) {
        const double gi = (double) g[i]*a.grad_scale;
        const double mi = (double) a.beta1*m[i] + (1.0 - a.beta1)*gi, vi = (double) a.beta2*v[i] + (1.0 - a.beta2)*gi*gi;
        w[i] = (float) (w[i] - a.lr*(mi/a.correction1/(sqrt(vi/a.correction2) + a.eps) + (double) a.weight_decay*w[i]));
        m[i] = (float) mi;
        v[i] = (float) vi;
    }
}

void plain_dropout(const float * x, int rows, int n, uint64_t key, float p, float * y) {
    for (int t = 0; t < rows; t++) {
        for (int i = 0; i < n; i++, x++, y++) {
            *y = random_at(random_key(key, t), i) < dropout_threshold(p) ? *x/(1 - p) : 0;
        }
    }
}

} // namespace lq
