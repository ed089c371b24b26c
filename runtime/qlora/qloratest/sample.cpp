// Models of random numbers, scaled so that activations stay near one: what tests and benchmarks train on.
#include "plain.h"
#include "sample_model.h"
#include <math.h>
#include <new>

namespace {

void make_layer(lq_sample & s, const lq_sample_spec & p, lq_layer & l) {
    const int d = p.n_embd, q = p.n_heads*p.head_size, kv = p.n_kv_heads*p.head_size;
    const float unit = 1/sqrtf((float) d), rest = 2/sqrtf(2.0f*p.n_layers);
    l = {};
    l.attn_norm = s.vector(d, 1, 0.1f);
    l.ffn_norm = s.vector(d, 1, 0.1f);
    l.linear[LQ_Q] = s.weight(p.kind, d, q, 1.5f*unit);
    l.linear[LQ_K] = s.weight(p.kind, d, kv, 1.5f*unit);
    l.linear[LQ_V] = s.weight(p.kind, d, kv, unit);
    l.linear[LQ_O] = s.weight(p.kind, q, d, rest/sqrtf((float) q));
    l.linear[LQ_GATE] = s.weight(p.kind, d, p.n_ff, 1.5f*unit);
    l.linear[LQ_UP] = s.weight(p.kind, d, p.n_ff, 1.5f*unit);
    l.linear[LQ_DOWN] = s.weight(p.kind, p.n_ff, d, rest/sqrtf((float) p.n_ff));
    if (p.bias) {
        l.linear[LQ_Q].bias = s.vector(q, 0, 0.5f);
        l.linear[LQ_K].bias = s.vector(kv, 0, 0.5f);
        l.linear[LQ_V].bias = s.vector(kv, 0, 0.5f);
    }
    if (p.qk_norm) {
        l.q_norm = s.vector(p.head_size, 1, 0.1f);
        l.k_norm = s.vector(p.head_size, 1, 0.1f);
    }
}

uint64_t hash_bytes(uint64_t h, const void * p, size_t n) { // FNV-1a
    for (size_t i = 0; i < n; i++) {
        h = (h ^ ((const uint8_t *) p)[i])*0x100000001b3ull;
    }
    return h;
}

} // namespace

lq_sample * lq_sample_new(const lq_sample_spec * p) {
    lq_sample * s = nullptr;
    try {
        s = new lq_sample(p->seed);
        lq_model & m = s->model;
        m = {p->n_embd, p->n_layers, p->n_heads, p->n_kv_heads, p->head_size, p->n_ff, p->n_vocab, 1e-5f, 0, p->rope_neox, 10000, nullptr, 0, {}, {},
            p->tied, nullptr, nullptr};
        m.embed = s->weight(p->end_kind, p->n_embd, p->n_vocab, 1);
        m.head = p->tied ? m.embed : s->weight(p->end_kind, p->n_embd, p->n_vocab, 2/sqrtf((float) p->n_embd));
        m.out_norm = s->vector(p->n_embd, p->tied ? 2/sqrtf((float) p->n_embd) : 1, p->tied ? 0.01f : 0.1f);
        if (p->stretched) {
            s->rope_factors = s->vector(p->head_size/2, 1, 0.2f);
            s->floats.emplace_back(p->head_size/2);
            lq_rope_scaling(p->head_size, m.rope_base, 0.5f, s->rope_factors, 1, 1, 32, 1, 64, s->floats.back().data(), &m.rope_gain);
            m.rope_freq_scale = s->floats.back().data();
        }
        s->layers.resize(p->n_layers);
        for (lq_layer & l : s->layers) {
            make_layer(*s, *p, l);
        }
        m.layers = s->layers.data();
        return s;
    } catch (const std::bad_alloc &) {
        delete s;
        return nullptr;
    }
}

const lq_model * lq_sample_model(const lq_sample * s) { return &s->model; }

uint64_t lq_sample_hash(const lq_sample * s) {
    uint64_t h = 0xcbf29ce484222325ull;
    for (const lq::MadeWeight & m : s->weights) {
        h = hash_bytes(h, m.bytes.data(), m.bytes.size());
        std::vector<float> row(m.weight.n_in);
        for (int i = 0; (m.nf4 || m.integer) && i < m.weight.n_out; i++) {
            lq::plain_row(m.weight, i, row.data());
            h = hash_bytes(h, row.data(), row.size()*sizeof(float));
        }
    }
    for (const std::vector<float> & f : s->floats) {
        h = hash_bytes(h, f.data(), f.size()*sizeof(float));
    }
    return h;
}

void lq_sample_free(lq_sample * s) { delete s; }
