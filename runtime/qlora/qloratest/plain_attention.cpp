// Causal attention and its gradients, one query at a time in double precision.
#include "plain.h"
#include <algorithm>
#include <math.h>
#include <vector>

namespace lq {

void plain_attention(const AttentionShape & a, const std::vector<Sequence> & sequences, const float * q, const float * k, const float * v, float * o) {
    for (const Sequence & s : sequences) {
        for (int t = s.begin; t < s.end; t++) {
            for (int h = 0; h < a.heads; h++) {
                const int kv = h/a.group()*a.head_size, seen = t - s.begin + 1;
                const float * qt = q + (size_t) t*a.q_width() + h*a.head_size;
                std::vector<double> p(seen), out(a.head_size);
                double top = -1e300, total = 0;
                for (int j = 0; j < seen; j++) {
                    for (int i = 0; i < a.head_size; i++) {
                        p[j] += (double) qt[i]*k[(size_t) (s.begin + j)*a.kv_width() + kv + i]*a.scale;
                    }
                    top = std::max(top, p[j]);
                }
                for (int j = 0; j < seen; j++) {
                    total += p[j] = exp(p[j] - top);
                }
                for (int j = 0; j < seen; j++) {
                    for (int i = 0; i < a.head_size; i++) {
                        out[i] += p[j]/total*v[(size_t) (s.begin + j)*a.kv_width() + kv + i];
                    }
                }
                for (int i = 0; i < a.head_size; i++) {
                    o[(size_t) t*a.q_width() + h*a.head_size + i] = (float) out[i];
                }
            }
        }
    }
}

namespace {

struct Gradients {
    const float * q, * k, * v, * d_o;
    float * dq;
};

// One query of one head, in double precision.
void plain_query_backward(const AttentionShape & a, const Sequence & s, int t, int h, const Gradients & x, std::vector<double> & dk, std::vector<double> & dv) {
    const int kv = h/a.group()*a.head_size, seen = t - s.begin + 1, d = a.head_size;
    const float * q = x.q + (size_t) t*a.q_width() + h*d, * d_o = x.d_o + (size_t) t*a.q_width() + h*d;
    std::vector<double> p(seen), dp(seen), dq(d);
    double top = -1e300, total = 0, delta = 0;
    for (int j = 0; j < seen; j++) {
        const size_t row = (size_t) (s.begin + j)*a.kv_width() + kv;
        for (int i = 0; i < d; i++) {
            p[j] += (double) q[i]*x.k[row + i]*a.scale;
            dp[j] += (double) d_o[i]*x.v[row + i];
        }
        top = std::max(top, p[j]);
    }
    for (int j = 0; j < seen; j++) {
        total += p[j] = exp(p[j] - top);
    }
    for (int j = 0; j < seen; j++) {
        p[j] /= total;
        delta += p[j]*dp[j];
    }
    for (int j = 0; j < seen; j++) {
        const size_t row = (size_t) (s.begin + j)*a.kv_width() + kv;
        const double ds = p[j]*(dp[j] - delta)*a.scale;
        for (int i = 0; i < d; i++) {
            dv[row + i] += p[j]*d_o[i];
            dk[row + i] += ds*q[i];
            dq[i] += ds*x.k[row + i];
        }
    }
    for (int i = 0; i < d; i++) {
        x.dq[(size_t) t*a.q_width() + h*d + i] = (float) dq[i];
    }
}

} // namespace

void plain_attention_backward(const AttentionShape & a, const std::vector<Sequence> & sequences, const float * q, const float * k, const float * v,
    const float * d_o, float * dq, float * dk, float * dv) {
    const Gradients x = {q, k, v, d_o, dq};
    const size_t n = (size_t) sequences.back().end*a.kv_width();
    std::vector<double> sum_k(n), sum_v(n);
    for (const Sequence & s : sequences) {
        for (int t = s.begin; t < s.end; t++) {
            for (int h = 0; h < a.heads; h++) {
                plain_query_backward(a, s, t, h, x, sum_k, sum_v);
            }
        }
    }
    for (size_t i = 0; i < n; i++) {
        dk[i] = (float) sum_k[i];
        dv[i] = (float) sum_v[i];
    }
}

} // namespace lq
