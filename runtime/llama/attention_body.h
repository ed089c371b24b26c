// The arithmetic of attention.h, over registers of 16 floats. Each instruction set's file includes this after
// it has chosen its target; the compiler splits the registers where the target's are narrower. The includer
// defines load_half, transpose16 and attend_name.
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

// Sum and maximum of 16 lanes, by halves.
INLINE float sum16(vec v) {
    float f[16];
    store(f, v);
    for (int n = 8; n > 0; n /= 2) {
        for (int i = 0; i < n; i++) {
            f[i] += f[i + n];
        }
    }
    return f[0];
}

INLINE float max16(vec v) {
    float f[16];
    store(f, v);
    for (int n = 8; n > 0; n /= 2) {
        for (int i = 0; i < n; i++) {
            f[i] = f[i + n] > f[i] ? f[i + n] : f[i];
        }
    }
    return f[0];
}

struct attention_state {
    float q[ATTENTION_QUERIES*ATTENTION_HEAD_SIZE];   // (query, head_size), scaled
    float out[ATTENTION_QUERIES*ATTENTION_HEAD_SIZE]; // (query, head_size), not yet divided by the sum
    float k[ATTENTION_BLOCK*ATTENTION_HEAD_SIZE];     // (16 cells' group, head_size, 16)
    float v[ATTENTION_BLOCK*ATTENTION_HEAD_SIZE];     // (cell, head_size)
    float p[ATTENTION_QUERIES*ATTENTION_BLOCK];       // (query, cell) scores, then weights
    vec sum[ATTENTION_QUERIES];
    float most[ATTENTION_QUERIES];
};

// Decodes a block of cells: keys transposed, values as they are. Beyond n, the last cell stands in.
INLINE void read_block(attention_state & s, const attention_job & job, const char * k, const char * v, const int32_t * cells, int n) {
    const int size = job.head_size;
    for (int c = 0; c < ATTENTION_BLOCK; c += 16) {
        for (int d = 0; d < size; d += 16) {
            vec rows[16];
            for (int i = 0; i < 16; i++) {
                const int32_t cell = cells[c + i < n ? c + i : n - 1];
                rows[i] = load_half((const uint16_t *) (k + (size_t) cell*job.k_cell) + d);
                store(s.v + (c + i)*size + d, load_half((const uint16_t *) (v + (size_t) cell*job.v_cell) + d));
            }
            transpose16(rows);
            for (int i = 0; i < 16; i++) {
                store(s.k + (c*size + (d + i)*16), rows[i]);
            }
        }
    }
}

// p = q k, four queries at a time (those past `queries` are zero).
INLINE void score_block(attention_state & s, int queries, int size) {
    for (int c = 0; c < ATTENTION_BLOCK; c += 16) {
        const float * k = s.k + c*size;
        for (int i = 0; i < queries; i += 4) {
            const float * q = s.q + i*size;
            vec a0 = splat(0), a1 = a0, a2 = a0, a3 = a0;
            for (int d = 0; d < size; d++) {
                const vec kd = load(k + d*16);
                a0 += kd*splat(q[d]);
                a1 += kd*splat(q[size + d]);
                a2 += kd*splat(q[2*size + d]);
                a3 += kd*splat(q[3*size + d]);
            }
            store(s.p + i*ATTENTION_BLOCK + c, a0);
            store(s.p + (i + 1)*ATTENTION_BLOCK + c, a1);
            store(s.p + (i + 2)*ATTENTION_BLOCK + c, a2);
            store(s.p + (i + 3)*ATTENTION_BLOCK + c, a3);
        }
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

// out += p v, four queries by 64 columns at a time, or 16 where head_size is not a multiple of 64.
template <int COLUMNS> INLINE void add_columns(attention_state & s, int queries, int size, int d) {
    for (int i = 0; i < queries; i += 4) {
        vec a[4][COLUMNS];
        for (int j = 0; j < 4; j++) {
            for (int x = 0; x < COLUMNS; x++) {
                a[j][x] = load(s.out + (i + j)*size + d + 16*x);
            }
        }
        for (int c = 0; c < ATTENTION_BLOCK; c++) {
            const float * v = s.v + c*size + d, * p = s.p + i*ATTENTION_BLOCK + c;
            for (int j = 0; j < 4; j++) {
                const vec w = splat(p[j*ATTENTION_BLOCK]);
                for (int x = 0; x < COLUMNS; x++) {
                    a[j][x] += w*load(v + 16*x);
                }
            }
        }
        for (int j = 0; j < 4; j++) {
            for (int x = 0; x < COLUMNS; x++) {
                store(s.out + (i + j)*size + d + 16*x, a[j][x]);
            }
        }
    }
}

INLINE void add_block(attention_state & s, int queries, int size) {
    int d = 0;
    for (; d + 64 <= size; d += 64) {
        add_columns<4>(s, queries, size, d);
    }
    for (; d < size; d += 16) {
        add_columns<1>(s, queries, size, d);
    }
}

INLINE void begin(attention_state & s, const attention_job & job, const attention_tile & tile, int head, int heads, int padded) {
    const int size = job.head_size, queries = tile.rows*heads;
    for (int i = 0; i < padded; i++) {
        const float * q = (const float *) (job.q + (size_t) (tile.row + i/heads)*job.q_row + (size_t) (head + i % heads)*job.q_head);
        for (int d = 0; d < size; d += 16) {
            store(s.q + i*size + d, i < queries ? load(q + d)*splat(job.scale) : splat(0));
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
    const int size = job.head_size, queries = tile.rows*heads, padded = (queries + 3)/4*4;
    const size_t kv = (size_t) (head/(job.heads/job.kv_heads));
    attention_state s;
    begin(s, job, tile, head, heads, padded);
    for (int c = 0; c < tile.n; c += ATTENTION_BLOCK) {
        read_block(s, job, job.k + kv*job.k_head, job.v + kv*job.v_head, tile.cells + c, tile.n - c);
        score_block(s, padded, size);
        for (int i = 0; i < padded; i++) {
            const int sees = tile.n - (tile.rows - 1 - (i < queries ? i/heads : 0)) - c;
            weigh_block(s, i, sees < 0 ? 0 : sees > ATTENTION_BLOCK ? (int) ATTENTION_BLOCK : sees, size);
        }
        add_block(s, padded, size);
    }
    finish(s, job, tile, head, heads);
}
