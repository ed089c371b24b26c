#include "stock_grammar.h"
#include "llama-grammar.h"
#include <cmath>
#include <memory>
#include <numeric>

namespace {
struct Free {
    void operator()(llama_grammar * g) const { llama_grammar_free_impl(g); }
};
} // namespace

struct stock_grammar {
    ollama_vocab vocab;
    std::unique_ptr<llama_grammar, Free> grammar;
};

stock_grammar * stock_grammar_new(const char * text, const char * const * pieces, int32_t n, const int32_t * ends, int32_t n_ends) {
    auto g = std::make_unique<stock_grammar>();
    std::vector<uint32_t> ids((size_t) n);
    std::iota(ids.begin(), ids.end(), 0u);
    g->vocab.add_token_pieces(ids.data(), ids.size(), const_cast<const char **>(pieces));
    const std::vector<uint32_t> end_ids(ends, ends + n_ends);
    g->vocab.set_eog_tokens(end_ids.data(), end_ids.size());
    g->grammar.reset(llama_grammar_init_impl(nullptr, &g->vocab, text, "root", false, nullptr, 0, nullptr, 0));
    return g->grammar ? g.release() : nullptr;
}

int stock_grammar_admits(stock_grammar * g, int32_t token) {
    llama_token_data one{token, 1.0f, 0.0f};
    llama_token_data_array array{&one, 1, -1, false};
    llama_grammar_apply_impl(*g->grammar, &array);
    return one.logit != -INFINITY;
}

void stock_grammar_accept(stock_grammar * g, int32_t token) { llama_grammar_accept_impl(*g->grammar, token); }

void stock_grammar_free(stock_grammar * g) { delete g; }
