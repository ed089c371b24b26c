// The product with an NF4 weight and the expansion of the rows' adapters, tile by tile of 64 outputs, so that the
// adapters' memory is fetched while the weight is multiplied.
#include "internal.h"

namespace {

enum { STRIPS = LORA_TILE/LK_NF4_STRIP, ROOM = 256 };

int min_int(int a, int b) { return a < b ? a : b; }

size_t lines_of(const lk_piece * p, int n) {
    size_t lines = 0;
    for (int i = 0; i < n; i++) {
        lines += (p[i].bytes + 63)/64;
    }
    return lines;
}

// The pieces of the caller, handed out in shares.
struct shares {
    const lk_piece * piece, * end;
    size_t at;
    size_t lines; // of each share

    // Moves a share to out.
    int take(lk_piece * out, int capacity) {
        int n = 0;
        for (size_t left = lines; left > 0 && piece < end && n < capacity;) {
            const size_t bytes = piece->bytes - at < left*64 ? piece->bytes - at : left*64;
            out[n++] = {(const char *) piece->data + at, bytes};
            left -= (bytes + 63)/64;
            at += bytes;
            if (at >= piece->bytes) {
                piece++;
                at = 0;
            }
        }
        return n;
    }
};

} // namespace

void lk_nf4_matmul_lora(const lk_nf4 * w, const void * xq, size_t xq_stride, const lk_row * row, int rows, const float * h, size_t h_stride,
    float * y, size_t y_stride, const lk_piece * ahead, int n_ahead, int ith, int nth) {
    const lk_nf4_ops & run = lk_nf4_now();
    const int tiles = (w->strips + STRIPS - 1)/STRIPS, t0 = (int) ((long) tiles*ith/nth), t1 = (int) ((long) tiles*(ith + 1)/nth);
    const int chunk = lk_nf4_chunk(xq_stride);
    shares more = {ahead, ahead + n_ahead, 0, t1 > t0 ? (lines_of(ahead, n_ahead) + t1 - t0 - 1)/(t1 - t0) : 0};
    for (int t = 0; t < rows; t += chunk) {
        const int n = min_int(chunk, rows - t);
        const char * x = (const char *) xq + t*xq_stride;
        char * out = (char *) y + t*y_stride;
        for (int tile = t0; tile < t1; tile++) {
            const int s0 = tile*STRIPS, s1 = min_int(w->strips, s0 + STRIPS);
            lk_piece piece[2*ROOM];
            const int own = lk_lora_tile_pieces(row + t, n, tile, piece, ROOM), all = own + more.take(piece + own, ROOM);
            const size_t blocks = (size_t) (s1 - s0)*w->blocks;
            lk_ahead next = {piece, piece + all, 0, (int) ((lines_of(piece, all) + blocks - 1)/blocks)};
            for (int s = s0; s < s1; s++) {
                const int at = s*LK_NF4_STRIP;
                run.strip(w, w->mode, s, x, xq_stride, n, out + at*sizeof(float), y_stride, min_int(LK_NF4_STRIP, w->n_out - at), &next);
            }
            lk_lora_expand_tiles(row + t, n, (const float *) ((const char *) h + t*h_stride), h_stride, (float *) out, y_stride,
                tile, tile + 1, true);
        }
    }
}
