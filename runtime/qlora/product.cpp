#include "product.h"
#include <algorithm>

namespace lq {

namespace {

// The depth that is packed at once: a panel of it is half a megabyte, half of a common second-level cache.
enum { DEPTH_UNITS = 4096, TILE_COLS = 128, TILE_ROWS = 64, TILE_FLOATS = 64*PANEL > TILE_COLS*PANEL ? 64*PANEL : TILE_COLS*PANEL };

int depth_step(const Tile & t, int depth) { return std::min(depth, t.pairs ? 2*DEPTH_UNITS : (int) DEPTH_UNITS); }

int blocks_of(const Tile & t, int rows) { return (rows + t.mr - 1)/t.mr; }

// Where panels are packed: panel j of nr columns lies `stride` units after panel j-1.
struct Panels {
    Unit * data;
    size_t stride;
};

// Packs n columns, given as a matrix read by `pack`, for `depth` values from unit `unit` of the panels on.
template <typename Pack> void pack_panels(const Tile & t, Panels to, int unit, int n, const Pack & pack) {
    for (int j = 0; j < PANEL; j += t.nr) {
        pack(std::max(0, std::min(n - j, t.nr)), j, to.data + j/t.nr*to.stride + (size_t) unit*t.nr);
    }
}

// The columns [col, col+n) of W^T for the depth [k0, k0+depth): rows of W.
void pack_weight(const Kernels & k, const Weight & w, int col, int n, int k0, int depth, float * tile, Panels to) {
    const Tile & t = *k.tile;
    for (int d = 0; d < depth; d += TILE_COLS) {
        const int some = std::min((int) TILE_COLS, depth - d), unit = units_of(t, d);
        if (filled_by_column(w.kind)) {
            k.fills[w.kind](w, col, n, k0 + d, some, tile, PANEL);
            pack_panels(t, to, unit, n, [&](int m, int j, Unit * out) { t.pack_b_by_depth(tile + j, PANEL, some, m, out); });
        } else {
            k.fills[w.kind](w, col, n, k0 + d, some, tile, TILE_COLS);
            pack_panels(t, to, unit, n, [&](int m, int j, Unit * out) { t.pack_b_by_column(tile + j*TILE_COLS, TILE_COLS, some, m, out); });
        }
    }
}

// The columns [col, col+n) of W for the depth [k0, k0+depth): k0 is a row of W.
void pack_weight_transposed(const Kernels & k, const Weight & w, int col, int n, int k0, int depth, float * tile, Panels to) {
    const Tile & t = *k.tile;
    for (int d = 0; d < depth; d += TILE_ROWS) {
        const int some = std::min((int) TILE_ROWS, depth - d), unit = units_of(t, d);
        if (filled_by_column(w.kind)) {
            k.fills[w.kind](w, k0 + d, some, col, n, tile, TILE_ROWS);
            pack_panels(t, to, unit, n, [&](int m, int j, Unit * out) { t.pack_b_by_column(tile + j*TILE_ROWS, TILE_ROWS, some, m, out); });
        } else {
            k.fills[w.kind](w, k0 + d, some, col, n, tile, PANEL);
            pack_panels(t, to, unit, n, [&](int m, int j, Unit * out) { t.pack_b_by_depth(tile + j, PANEL, some, m, out); });
        }
    }
}

void pack_right(const Kernels & k, const Right & b, int col, int k0, int depth, float * tile, Panels to) {
    const Tile & t = *k.tile;
    const int n = std::min((int) PANEL, b.cols - col);
    switch (b.form) {
    case Right::weight: pack_weight(k, *b.w, col, n, k0, depth, tile, to); break;
    case Right::weight_transposed: pack_weight_transposed(k, *b.w, col, n, k0, depth, tile, to); break;
    case Right::by_depth:
        pack_panels(t, to, 0, n, [&](int m, int j, Unit * out) { t.pack_b_by_depth(b.m.data + k0*b.m.ld + col + j, b.m.ld, depth, m, out); });
        break;
    case Right::by_column:
        pack_panels(t, to, 0, n, [&](int m, int j, Unit * out) { t.pack_b_by_column(b.m.data + (col + j)*b.m.ld + k0, b.m.ld, depth, m, out); });
        break;
    }
}

// The bytes of a weight's panel that will be packed next, most likely by this thread.
void prefetch_panel(const Right & b, int col) {
    if (col < b.cols && b.form == Right::weight) {
        prefetch_rows(*b.w, col);
    } else if (col < b.cols && b.form == Right::weight_transposed) {
        prefetch_columns(*b.w, col);
    }
}

bool in_bytes(const Kernels & k, const Product & p) {
    return k.bytes && p.a.bytes && p.b.form == Right::weight && byte_zero(p.b.w->kind) >= 0 && p.alpha == 1;
}

// A block of rows times a panel of bytes.
void run_bytes(const Kernels & k, const Product & p, const BytePanel * panel, int row, int rows, int col, int n, int k0, int depth) {
    const int zero = byte_zero(p.b.w->kind);
    for (int r = row; r < row + rows; r += BYTE_ROWS) {
        const ByteBlock * a = p.a.bytes + (size_t) (r/BYTE_ROWS)*(p.a.depth/BYTE_DEPTH) + k0/BYTE_DEPTH;
        k.bytes->run(depth/BYTE_DEPTH, a, panel, zero, p.accumulate || k0 > 0, std::min((int) BYTE_ROWS, row + rows - r), n, p.c + r*p.ldc + col, p.ldc);
    }
}

// One panel of C, for the blocks [block, end) of A.
void multiply_panel(const Kernels & k, const Product & p, int panel, int block, int end, Scratch s) {
    const Tile & t = *k.tile;
    const bool bytes = in_bytes(k, p);
    const int col = panel*PANEL, n = std::min((int) PANEL, p.b.cols - col), step = depth_step(t, p.b.depth);
    const int units_a = units_of(t, p.a.depth), units2 = p.a2.data ? units_of(t, p.a2.depth) : 0;
    float * tile = s.base;
    const Panels first = {(Unit *) tile + TILE_FLOATS, (size_t) units_of(t, step)*t.nr};
    const Panels second = {first.data + PANEL/t.nr*first.stride, (size_t) units2*t.nr};
    if (units2) {
        pack_right(k, p.b2, col, 0, p.b2.depth, tile, second);
    }
    for (int k0 = 0; k0 < p.b.depth; k0 += step) {
        const int depth = std::min(step, p.b.depth - k0), last = k0 + depth == p.b.depth;
        if (bytes) {
            k.bytes->pack_b(*p.b.w, col, n, k0, depth, (BytePanel *) first.data);
        } else {
            pack_right(k, p.b, col, k0, depth, tile, first);
        }
        if (last) {
            prefetch_panel(p.b, col + PANEL);
        }
        for (int i = block; i < end; i++) {
            const Unit * a = p.a.data + ((size_t) i*units_a + units_of(t, k0))*t.mr;
            const Unit * a2 = p.a2.data + (size_t) i*units2*t.mr;
            const int rows = std::min(t.mr, p.a.rows - i*t.mr);
            if (bytes) {
                run_bytes(k, p, (const BytePanel *) first.data, i*t.mr, rows, col, n, k0, depth);
                if (!last || !units2) {
                    continue;
                }
            }
            for (int j = 0; j < n; j += t.nr) {
                t.run(bytes ? 0 : units_of(t, depth), a, first.data + j/t.nr*first.stride, last ? units2 : 0, a2, second.data + j/t.nr*second.stride,
                    p.alpha, p.accumulate || bytes || k0 > 0, rows, std::min(t.nr, n - j), p.c + (ptrdiff_t) i*t.mr*p.ldc + col + j, p.ldc);
            }
        }
    }
}

} // namespace

size_t byte_floats(int rows, int depth) { return (size_t) (rows + BYTE_ROWS - 1)/BYTE_ROWS*(depth/BYTE_DEPTH)*sizeof(ByteBlock)/sizeof(float); }

size_t left_floats(const Tile & t, int rows, int depth) { return (size_t) blocks_of(t, rows)*t.mr*units_of(t, depth) + 16; }

namespace {

// Blocks [begin, end) of a packed A.
void pack_blocks(const Tile & t, Left a, Matrix x, bool transposed, float scale, int begin, int end) {
    const size_t block = (size_t) t.mr*units_of(t, a.depth);
    for (int i = begin; i < end; i++) {
        const int row = i*t.mr, rows = std::min(t.mr, a.rows - row);
        if (transposed) {
            t.pack_a_by_depth(x.data + row, x.ld, rows, a.depth, scale, a.data + i*block);
        } else {
            t.pack_a_by_row(x.data + row*x.ld, x.ld, rows, a.depth, scale, a.data + i*block);
        }
    }
}

} // namespace

void pack_left(const Compute & c, Left a, Matrix x, float scale) {
    const Tile & t = *c.kernels.tile;
    c.pool->ranges(blocks_of(t, a.rows), [&](int begin, int end, int) {
        pack_blocks(t, a, x, false, scale, begin, end);
        for (int r = begin*t.mr; a.bytes && c.kernels.bytes && r < std::min(end*t.mr, a.rows); r += BYTE_ROWS) {
            c.kernels.bytes->pack_a(x.data + r*x.ld, x.ld, std::min((int) BYTE_ROWS, a.rows - r), a.depth, a.bytes + (size_t) (r/BYTE_ROWS)*(a.depth/BYTE_DEPTH));
        }
    });
}

void pack_left_transposed(const Compute & c, Left a, Matrix x, float scale) {
    const Tile & t = *c.kernels.tile;
    c.pool->ranges(blocks_of(t, a.rows), [&](int begin, int end, int) { pack_blocks(t, a, x, true, scale, begin, end); });
}

void pack_left_here(const Tile & t, Left a, Matrix x) { pack_blocks(t, a, x, false, 1, 0, blocks_of(t, a.rows)); }

void pack_left_transposed_here(const Tile & t, Left a, Matrix x) { pack_blocks(t, a, x, true, 1, 0, blocks_of(t, a.rows)); }

Product product(Left a, Right b, float * c, ptrdiff_t ldc, bool accumulate, float alpha) {
    return {a, b, c, ldc, accumulate, alpha, {}, {}};
}

double flops_of(const Product & p) { return 2.0*p.a.rows*p.b.cols*(p.b.depth + (p.a2.data ? p.b2.depth : 0)); }

size_t scratch_floats(const Tile & t, int depth, int depth2) {
    return TILE_FLOATS + (size_t) PANEL*(units_of(t, depth_step(t, depth)) + units_of(t, depth2)) + 16*PANEL; // the tile reads ahead
}

void multiply(const Compute & c, const Product & p, int begin, int end) {
    const int panels = end - begin, blocks = blocks_of(*c.kernels.tile, p.a.rows), threads = c.pool->threads();
    // A panel is packed once per piece of the rows: cut the rows only where there are too few panels to share.
    int pieces = 1;
    while (panels*pieces < 3*threads && blocks >= 2*(pieces + 1)) {
        pieces++;
    }
    // Neighbouring panels share cache lines of a weight's columns: give a thread some at a time.
    const int together = std::max(1, std::min(4, panels*pieces/(8*threads))), groups = (panels + together - 1)/together;
    c.pool->run(groups*pieces, [&](int i, int thread) {
        const int piece = i/groups, first = begin + i % groups*together, last = std::min(end, first + together);
        for (int panel = first; panel < last; panel++) {
            multiply_panel(c.kernels, p, panel, (int) ((int64_t) blocks*piece/pieces), (int) ((int64_t) blocks*(piece + 1)/pieces), c.scratch[thread]);
        }
    });
}

void multiply_here(const Kernels & k, const Product & p, Scratch s) {
    for (int i = 0; i < panels_of(p); i++) {
        multiply_panel(k, p, i, 0, blocks_of(*k.tile, p.a.rows), s);
    }
}

} // namespace lq
