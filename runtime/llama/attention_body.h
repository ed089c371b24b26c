// The arithmetic of attention.h, over registers of 16 floats. Each instruction set's file includes this after
// it has chosen its target; the compiler splits the registers where the target's are narrower. The includer
// defines load_half, transpose16, sum16, max16 and attend_name.
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(64)));
typedef int32_t ivec __attribute__((vector_size(64)));

INLINE vec load(const float * p) {
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE void store(float * p, vec v) { memcpy(p, &v, sizeof v); }

INLINE vec splat(float f) { return vec{f, f, f, f, f, f, f, f, f, f, f, f, f, f, f, f}; }

// 16 float16 as floats.
INLINE vec load_half(const uint16_t * p);
// Rows (16, 16) to columns.
INLINE void transpose16(vec * r);
// Sum and maximum of 16 lanes.
INLINE float sum16(vec v);
INLINE float max16(vec v);

// e^x for x <= 0, relative error 2e-7; 0 below -87.
INLINE vec exp_negative(vec x) {
    const vec log2e = splat(1.44269504f), ln2_high = splat(0.693359375f), ln2_low = splat(-2.12194440e-4f), magic = splat(12582912.0f);
    const vec n = x*log2e + magic; // the nearest integer stands in the lowest bits
    const vec k = n - magic;
    const vec r = x - k*ln2_high - k*ln2_low;
    vec p = splat(1.9875691500e-4f);
    p = p*r + splat(1.3981999507e-3f);
    p = p*r + splat(8.3334519073e-3f);
    p = p*r + splat(4.1665795894e-2f);
    p = p*r + splat(1.6666665459e-1f);
    p = p*r + splat(5.0000001201e-1f);
    p = p*r*r + r + splat(1.0f);
    ivec bits;
    memcpy(&bits, &n, sizeof bits);
    bits = (bits << 23) + (127 << 23); // the magic number's own bits leave on the left
    vec power;
    memcpy(&power, &bits, sizeof power);
    return x < -87.0f ? splat(0) : p*power;
}

struct attention_state {
    float q[ATTENTION_QUERIES*ATTENTION_HEAD_SIZE];   // (query, head_size), scaled
    float out[ATTENTION_QUERIES*ATTENTION_HEAD_SIZE]; // (query, head_size), not yet divided by the sum
    float k[ATTENTION_BLOCK*ATTENTION_HEAD_SIZE];     // (16 cells' group, head_size, 16)
    const uint16_t * v[ATTENTION_BLOCK];              // (cell): head_size float16
    float p[ATTENTION_QUERIES*ATTENTION_BLOCK];       // (query, cell) scores, then weights
    vec sum[ATTENTION_QUERIES];
    float most[ATTENTION_QUERIES];
};

// Decodes the keys of a block of cells, transposed, and finds its values. Beyond n, the last cell stands in.
INLINE void read_block(attention_state & s, const attention_job & job, const char * k, const char * v, const int32_t * cells, int n) {
    const int size = job.head_size;
    for (int c = 0; c < ATTENTION_BLOCK; c += 16) {
        const uint16_t * keys[16];
        for (int i = 0; i < 16; i++) {
            const int32_t cell = cells[c + i < n ? c + i : n - 1];
            keys[i] = (const uint16_t *) (k + (size_t) cell*job.k_cell);
            s.v[c + i] = (const uint16_t *) (v + (size_t) cell*job.v_cell);
        }
        for (int d = 0; d < size; d += 16) {
            vec rows[16];
            for (int i = 0; i < 16; i++) {
                rows[i] = load_half(keys[i] + d);
            }
            transpose16(rows);
            for (int i = 0; i < 16; i++) {
                store(s.k + (c*size + (d + i)*16), rows[i]);
            }
        }
    }
}

// p = q k for N queries from `i` on.
template <int N> INLINE void score_queries(attention_state & s, int i, int size) {
    vec a[N][2];
    for (int j = 0; j < N; j++) {
        a[j][0] = a[j][1] = splat(0);
    }
    const float * q = s.q + i*size, * k = s.k;
    for (int d = 0; d < size; d++) {
        const vec k0 = load(k + d*16), k1 = load(k + (size + d)*16);
#pragma GCC unroll 6
        for (int j = 0; j < N; j++) {
            const vec w = splat(q[j*size + d]);
            a[j][0] += k0*w;
            a[j][1] += k1*w;
        }
    }
    for (int j = 0; j < N; j++) {
        store(s.p + (i + j)*ATTENTION_BLOCK, a[j][0]);
        store(s.p + (i + j)*ATTENTION_BLOCK + 16, a[j][1]);
    }
}

// Turns the scores of one query into weights; those from `visible` on count nothing.
INLINE void weigh_block(attention_state & s, int i, int visible, int size) {
    float * p = s.p + i*ATTENTION_BLOCK;
    for (int c = visible; c < ATTENTION_BLOCK; c++) {
        p[c] = -INFINITY;
    }
    vec most = load(p);
    for (int c = 16; c < ATTENTION_BLOCK; c += 16) {
        const vec x = load(p + c);
        most = x > most ? x : most;
    }
    const float m = max16(most);
    if (m > s.most[i]) {
        const vec rescale = exp_negative(splat(s.most[i] - m)); // 0 the first time
        s.most[i] = m;
        s.sum[i] *= rescale;
        for (int d = 0; d < size; d += 16) {
            store(s.out + i*size + d, load(s.out + i*size + d)*rescale);
        }
    }
    for (int c = 0; c < ATTENTION_BLOCK; c += 16) {
        const vec w = exp_negative(load(p + c) - splat(s.most[i]));
        store(p + c, w);
        s.sum[i] += w;
    }
}

// out += p v for N queries by 16*COLUMNS columns.
template <int N, int COLUMNS> INLINE void add_columns(attention_state & s, int i, int size, int d) {
    vec a[N][COLUMNS];
    for (int j = 0; j < N; j++) {
        for (int x = 0; x < COLUMNS; x++) {
            a[j][x] = load(s.out + (i + j)*size + d + 16*x);
        }
    }
    for (int c = 0; c < ATTENTION_BLOCK; c++) {
        vec v[COLUMNS];
        for (int x = 0; x < COLUMNS; x++) {
            v[x] = load_half(s.v[c] + d + 16*x);
        }
#pragma GCC unroll 6
        for (int j = 0; j < N; j++) {
            const vec w = splat(s.p[(i + j)*ATTENTION_BLOCK + c]);
            for (int x = 0; x < COLUMNS; x++) {
                a[j][x] += w*v[x];
            }
        }
    }
    for (int j = 0; j < N; j++) {
        for (int x = 0; x < COLUMNS; x++) {
            store(s.out + (i + j)*size + d + 16*x, a[j][x]);
        }
    }
}

template <int N> INLINE void add_queries(attention_state & s, int i, int size) {
    int d = 0;
    for (; d + 64 <= size; d += 64) {
        add_columns<N, 4>(s, i, size, d);
    }
    for (; d < size; d += 16) {
        add_columns<N, 1>(s, i, size, d);
    }
}

// Scores, weights and sums of N queries.
template <int N> INLINE void step_queries(attention_state & s, const attention_tile & tile, int heads, int c, int i, int size) {
    score_queries<N>(s, i, size);
    for (int j = i; j < i + N; j++) {
        const int sees = tile.n - (tile.rows - 1 - j/heads) - c;
        weigh_block(s, j, sees < 0 ? 0 : sees > ATTENTION_BLOCK ? (int) ATTENTION_BLOCK : sees, size);
    }
    add_queries<N>(s, i, size);
}

INLINE void begin(attention_state & s, const attention_job & job, const attention_tile & tile, int head, int heads) {
    const int size = job.head_size;
    for (int i = 0; i < tile.rows*heads; i++) {
        const float * q = (const float *) (job.q + (size_t) (tile.row + i/heads)*job.q_row + (size_t) (head + i % heads)*job.q_head);
        for (int d = 0; d < size; d += 16) {
            store(s.q + i*size + d, load(q + d)*splat(job.scale));
            store(s.out + i*size + d, splat(0));
        }
        s.sum[i] = splat(0);
        s.most[i] = -INFINITY;
    }
}

INLINE void finish(const attention_state & s, const attention_job & job, const attention_tile & tile, int head, int heads) {
    const int size = job.head_size;
    for (int i = 0; i < tile.rows*heads; i++) {
        float * out = (float *) (job.out + (size_t) (tile.row + i/heads)*job.out_row + (size_t) (head + i % heads)*job.out_head);
        const vec share = splat(1.0f/sum16(s.sum[i]));
        for (int d = 0; d < size; d += 16) {
            store(out + d, load(s.out + i*size + d)*share);
        }
    }
}

void attend_name(const attention_job & job, const attention_tile & tile, int head, int heads) {
    enum { TOGETHER = 5 }; // queries whose sums fit the registers of AVX-512
    const int size = job.head_size, queries = tile.rows*heads;
    const size_t kv = (size_t) (head/(job.heads/job.kv_heads));
    attention_state s; // NOLINT(cppcoreguidelines-pro-type-member-init): begin fills it
    begin(s, job, tile, head, heads);
    for (int c = 0; c < tile.n; c += ATTENTION_BLOCK) {
        read_block(s, job, job.k + kv*job.k_head, job.v + kv*job.v_head, tile.cells + c, tile.n - c);
        for (int i = 0; i < queries; i += TOGETHER) {
            switch (queries - i) {
            case 1: step_queries<1>(s, tile, heads, c, i, size); break;
            case 2: step_queries<2>(s, tile, heads, c, i, size); break;
            case 3: step_queries<3>(s, tile, heads, c, i, size); break;
            case 4: step_queries<4>(s, tile, heads, c, i, size); break;
            default: step_queries<TOGETHER>(s, tile, heads, c, i, size);
            }
        }
    }
    finish(s, job, tile, head, heads);
}
