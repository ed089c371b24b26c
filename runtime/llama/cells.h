// Where each token of each sequence of a device lies in the KV cache.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace lorikeet {

// Cells repeats what llama.cpp knows but does not tell: the cell of every position of every sequence. It is
// kept in step by the same calls that change the cache.
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

    void copy(int dst, int src, int n) {
        const std::vector<int32_t> & s = of[(size_t) src];
        of[(size_t) dst].assign(s.begin(), s.begin() + n);
    }

    void cut(int seq, int from) {
        if (of[(size_t) seq].size() > (size_t) from) {
            of[(size_t) seq].resize((size_t) from);
        }
    }

private:
    std::vector<std::vector<int32_t>> of;
};

} // namespace lorikeet
