// Where each token of each sequence of a device lies in the KV cache.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace lorikeet {

// Cells repeats what llama.cpp knows but does not tell: the cell of every position of every sequence. It is
// updated by the same calls that change the cache.
//
// Only graphs with our own attention append to it. Where llama.cpp's attention runs (a KV type or a model that ours does
// not know, or no flash attention), every sequence stays empty here, whatever the cache holds of it.
class Cells {
public:
    explicit Cells(size_t sequences) : of(sequences) {}

    // The cells of a sequence, by position. Valid until the sequence changes.
    const std::vector<int32_t> & sequence(int seq) const { return of[(size_t) seq]; }

    void append(int seq, int position, int32_t cell) {
        std::vector<int32_t> & s = of[(size_t) seq];
        if ((size_t) position != s.size()) {
            throw std::runtime_error("sequence " + std::to_string(seq) + " has " + std::to_string(s.size())
                + " cells and is given position " + std::to_string(position));
        }
        s.push_back(cell);
    }

    // The first n cells of src become those of dst.
    void copy(int dst, int src, int n) {
        const std::vector<int32_t> & s = of[(size_t) src];
        if (s.empty()) {
            of[(size_t) dst].clear();
            return;
        }
        if (s.size() < (size_t) n) {
            throw std::runtime_error("sequence " + std::to_string(src) + " has " + std::to_string(s.size())
                + " cells, of which " + std::to_string(n) + " are to be shared");
        }
        of[(size_t) dst].assign(s.begin(), s.begin() + n);
    }

    void truncate(int seq, int from) {
        if (of[(size_t) seq].size() > (size_t) from) {
            of[(size_t) seq].resize((size_t) from);
        }
    }

    void clear() {
        for (std::vector<int32_t> & s : of) {
            s.clear();
        }
    }

private:
    std::vector<std::vector<int32_t>> of;
};

} // namespace lorikeet
