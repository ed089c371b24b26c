// What matchers stand on: the rules of a grammar, and the bytes of a model's tokens.
#include "grammar.h"
#include <algorithm>
#include <numeric>
#include <string_view>

namespace lorikeet {

// ---- rules -----------------------------------------------------------------------------------------

static void require(bool ok) {
    if (!ok) {
        throw std::runtime_error("the compiled grammar is not well formed");
    }
}

GrammarRules::GrammarRules(const ll_grammar & g, size_t n_vocab)
    : elements(g.elements, g.elements + g.n_elements), ranges(g.ranges, g.ranges + g.n_ranges), classes((size_t) g.n_classes) {
    require(g.n_rules > 0 && g.n_elements > 0 && elements.back().kind == LL_GRAMMAR_END);
    for (const ll_grammar_element & e : elements) {
        switch (e.kind) {
        case LL_GRAMMAR_REF: require(e.value < (uint32_t) g.n_rules); break;
        case LL_GRAMMAR_CLASS: require(e.value < (uint32_t) g.n_classes); break;
        case LL_GRAMMAR_TOKEN:
        case LL_GRAMMAR_NOT_TOKEN: require(e.value < n_vocab); break;
        default: require(e.kind == LL_GRAMMAR_END || e.kind == LL_GRAMMAR_OR || e.kind == LL_GRAMMAR_CHAR);
        }
    }
    for (int32_t i = 0; i < g.n_rules; i++) {
        require(g.rules[i] >= 0 && g.rules[i] < g.n_elements);
        first_start.push_back((uint32_t) starts.size());
        for (uint32_t at = (uint32_t) g.rules[i]; ; at++) {
            starts.push_back(at);
            while (!is_end(at)) {
                at++;
            }
            if (elements[at].kind == LL_GRAMMAR_END) {
                break;
            }
        }
        require(starts.size() <= elements.size());
    }
    first_start.push_back((uint32_t) starts.size());
    for (size_t i = 0; i < classes.size(); i++) {
        Class & c = classes[i];
        c.begin = (uint32_t) g.classes[i];
        c.end = i + 1 < classes.size() ? (uint32_t) g.classes[i + 1] : (uint32_t) g.n_ranges;
        require(c.begin <= c.end && c.end <= ranges.size());
        for (uint32_t r = c.begin; r < c.end; r++) {
            for (uint32_t x = ranges[r].first; x <= ranges[r].last && x < 128; x++) {
                c.ascii[x/64] |= (uint64_t) 1 << x%64;
            }
        }
    }
}

const ll_grammar_range * GrammarRules::range_from(const Class & c, uint32_t low) const {
    const ll_grammar_range * end = ranges.data() + c.end;
    const ll_grammar_range * r = std::lower_bound(ranges.data() + c.begin, end, low, [](const ll_grammar_range & x, uint32_t l) { return x.last < l; });
    return r == end ? nullptr : r;
}

bool GrammarRules::matches(const ll_grammar_element & e, uint32_t c) const {
    if (e.kind != LL_GRAMMAR_CLASS) {
        return e.kind == LL_GRAMMAR_CHAR && e.value == c;
    }
    const Class & k = classes[e.value];
    return c < 128 ? k.ascii[c/64] >> c%64 & 1 : matches_any(e, c, c);
}

bool GrammarRules::matches_any(const ll_grammar_element & e, uint32_t low, uint32_t high) const {
    if (e.kind != LL_GRAMMAR_CLASS) {
        return e.kind == LL_GRAMMAR_CHAR && low <= e.value && e.value <= high;
    }
    const ll_grammar_range * r = range_from(classes[e.value], low);
    return r && r->first <= high;
}

// ---- tokens ----------------------------------------------------------------------------------------

TokenBytes::TokenBytes(const Model & m) : ends((size_t) m.n_vocab()) {
    const size_t n = ends.size();
    std::string piece(64, 0);
    for (size_t t = 0; t < n; t++) {
        begin.push_back((uint32_t) bytes.size());
        int32_t length = llama_token_to_piece(m.vocab(), (llama_token) t, piece.data(), (int32_t) piece.size(), 0, true);
        if (length < 0) {
            piece.resize((size_t) -length);
            length = llama_token_to_piece(m.vocab(), (llama_token) t, piece.data(), (int32_t) piece.size(), 0, true);
        }
        bytes.append(piece, 0, (size_t) std::max(length, 0));
        longest = std::max(longest, (size_t) std::max(length, 0));
    }
    begin.push_back((uint32_t) bytes.size());
    for (llama_token t : m.end_tokens) {
        ends[(size_t) t] = 1;
    }
    const auto text = [this](llama_token t) { return std::string_view(bytes).substr(begin[(size_t) t], begin[(size_t) t + 1] - begin[(size_t) t]); };
    for (size_t t = 0; t < n; t++) {
        if (!ends[t] && begin[t + 1] > begin[t]) {
            order.push_back((llama_token) t);
        }
    }
    std::sort(order.begin(), order.end(), [&](llama_token a, llama_token b) { return text(a) < text(b); });
    std::string_view last;
    for (llama_token t : order) {
        const std::string_view now = text(t);
        shared.push_back((uint32_t) (std::mismatch(now.begin(), now.end(), last.begin(), last.end()).first - now.begin()));
        last = now;
    }
}

std::shared_ptr<const TokenBytes> token_bytes(const Model & m) {
    std::call_once(m.token_bytes_once, [&] { m.token_bytes = std::make_shared<const TokenBytes>(m); });
    return m.token_bytes;
}

} // namespace lorikeet
