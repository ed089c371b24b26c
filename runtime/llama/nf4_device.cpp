// NF4 in the memory of a device: blocks of 32 with their scales in half precision, in IQ4_NL's layout.
//
// Blocks of 32 are what a file has already. Blocks of 64 become two with the same scale, exactly; the scales of double
// quantization, a product of a float and eight bits, are rounded to half precision, by 2^-11 of a weight at most. These are read
// from the file once more, in pieces, for llama.cpp cannot be given a tensor that has more bytes than the file has of it.
#include "model.h"
#include <cmath>
#include <cstdio>
#include <cstring>

namespace lorikeet {

namespace {

enum { BLOCK_BYTES = 18, CODE_BYTES = 16, TILE_BLOCKS = 16, PIECE = 4 << 20 };

struct FileClose {
    void operator()(FILE * f) const { fclose(f); }
};

// The rows of a source, piece by piece. A strip is the rows that a piece may begin with.
class Source {
public:
    Source(const char * path, const ll_nf4 & n) : n(n), file(fopen(path, "rbe")) {
        if (!file || fseeko(file.get(), (off_t) n.offset, SEEK_SET) != 0) {
            throw std::runtime_error("tensor " + std::string(n.name) + " cannot be read from the file");
        }
        const size_t strip = lk_nf4_source_bytes(n.kind, n.n_in, LK_NF4_STRIP);
        rows_at_once = LK_NF4_STRIP*(int) std::max((size_t) 1, PIECE/strip);
    }

    // The next rows; how many, 0 at the end.
    int read(std::vector<uint8_t> & out) {
        const int rows = std::min(rows_at_once, n.n_out - row);
        out.resize(lk_nf4_source_bytes(n.kind, n.n_in, rows));
        if (fread(out.data(), 1, out.size(), file.get()) != out.size()) {
            throw std::runtime_error("tensor " + std::string(n.name) + " cannot be read from the file");
        }
        if (const int bad = lk_nf4_bad_row(n.kind, out.data(), n.n_in, rows); bad >= 0) {
            throw std::runtime_error("tensor " + std::string(n.name) + " has a scale that is infinite or not a number, in row " + std::to_string(row + bad));
        }
        row += rows;
        return rows;
    }

private:
    const ll_nf4 & n;
    const std::unique_ptr<FILE, FileClose> file;
    int row = 0, rows_at_once;
};

// Writes blocks of 32 of one source block's weights. scale must fit into half precision.
uint8_t * write_blocks(const ll_nf4 & n, float scale, const uint8_t * codes, int blocks, uint8_t * to) {
    const ggml_fp16_t half = ggml_fp32_to_fp16(scale);
    if (!std::isfinite(ggml_fp16_to_fp32(half))) {
        throw std::runtime_error("tensor " + std::string(n.name) + " has a scale that is too large for half precision, in which devices have it");
    }
    for (int b = 0; b < blocks; b++, to += BLOCK_BYTES) {
        memcpy(to, &half, sizeof half);
        memcpy(to + sizeof half, codes + b*CODE_BYTES, CODE_BYTES);
    }
    return to;
}

// The rows of a source in the device's blocks.
void convert(const ll_nf4 & n, const uint8_t * from, int rows, std::vector<uint8_t> & out) {
    const int wide = n.kind == LK_NF4_32 ? 1 : 2, blocks = n.n_in/(wide*LK_NF4_BLOCK);
    const int tiles = n.kind == LK_NF4_DQ ? (blocks + TILE_BLOCKS - 1)/TILE_BLOCKS : 0;
    std::vector<float> tile((size_t) tiles);
    out.resize((size_t) rows*(size_t) (n.n_in/LK_NF4_BLOCK)*BLOCK_BYTES);
    uint8_t * to = out.data();
    for (int r = 0; r < rows; r++) {
        if (tiles > 0 && r % LK_NF4_STRIP == 0) {
            memcpy(tile.data(), from, tile.size()*sizeof(float));
            from += tile.size()*sizeof(float);
        }
        for (int b = 0; b < blocks; b++) {
            float scale;
            if (tiles > 0) {
                scale = tile[(size_t) (b/TILE_BLOCKS)]*(float) (int8_t) *from;
                from++;
            } else {
                uint16_t half;
                memcpy(&half, from, sizeof half);
                scale = lk_half_to_float(half);
                from += sizeof half;
            }
            to = write_blocks(n, scale, from, wide, to);
            from += wide*CODE_BYTES;
        }
    }
}

} // namespace

void place_nf4(ggml_tensor * w, const ll_nf4 & n, const char * path) {
    if (w->type != GGML_TYPE_IQ4_NL || w->ne[0] != n.n_in || w->ne[1] != n.n_out) {
        throw std::runtime_error("tensor " + std::string(n.name) + " is NF4 of another shape than the model's");
    }
    std::vector<uint8_t> piece, blocks;
    size_t at = 0;
    for (Source source(path, n); at < ggml_nbytes(w); at += blocks.size()) {
        const int rows = source.read(piece);
        convert(n, piece.data(), rows, blocks);
        if (n.converted) { // else llama.cpp has put the same bytes there
            ggml_backend_tensor_set(w, blocks.data(), at, blocks.size());
        }
    }
}

} // namespace lorikeet
