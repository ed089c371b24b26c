// The sampling state of one stream.
#pragma once
#include "grammar.h"
#include <deque>
#include <functional>

namespace lorikeet {

struct SamplerFree {
    void operator()(llama_sampler * s) const { llama_sampler_free(s); }
};
using LlamaSampler = std::unique_ptr<llama_sampler, SamplerFree>;

// Memory that draws share, so that none allocates: one per device.
struct Scratch {
    std::vector<float> logits;
    std::vector<llama_token_data> candidates;
    std::vector<uint8_t> admitted; // by the grammar
};

// Penalties lower the logits of tokens that have occurred. The arithmetic is that of llama.cpp's penalties
// sampler, applied to the tokens that occurred instead of searched for every token of the vocabulary.
class Penalties {
public:
    Penalties(const ll_sampling & s, const int32_t * prompt, int32_t n_prompt);
    bool on() const { return repeat != 1 || presence != 0 || frequency != 0; }
    void apply(float * logits) const;
    void accept(llama_token token);

private:
    void remember(llama_token token);

    const float repeat, presence, frequency;
    const size_t last_n;
    std::deque<llama_token> recent;                      // the last last_n tokens of prompt and answer
    std::unordered_map<llama_token, int> recent_counts;
    std::unordered_map<llama_token, int> answer_counts;
};

// What a draw depends on: the row's logits, this state, and its seed; never the other rows of the batch.
class Sampler {
public:
    // grammar may be null.
    Sampler(std::shared_ptr<const Model> m, const ll_sampling & s, const ll_grammar * grammar,
            std::vector<llama_logit_bias> bias, const int32_t * prompt, int32_t n_prompt);

    // Draws the next token from logits (vocabulary) and accepts it. -1: no token is possible. Throws GrammarCost where
    // the grammar takes too much work; the sampler cannot be used after that.
    llama_token draw(const float * logits, Scratch & scratch);

    // The same among the tokens whose bits are set in mask; and again from the same logits, in place of the last draw.
    llama_token draw_among(const float * logits, const uint64_t * mask, Scratch & scratch);
    llama_token redraw(const float * logits, const uint64_t * mask, Scratch & scratch);

    // What a draw looks at.
    enum Asks { ALL, BEST, TOP }; // all logits, the best one alone, the top() best alone
    Asks asks() const { return shaped() || grammar ? ALL : !chain ? BEST : top_k > 0 ? TOP : ALL; }
    int top() const { return top_k; }
    // The draw of a sampler that asks for no more, from the first of the best ones, or from the top() best, best first.
    llama_token take_best(llama_token best);
    llama_token draw_top(std::vector<llama_token_data> & best);

private:
    bool shaped() const { return !bias.empty() || ignore_eos || penalties.on(); }
    const float * shape(const float * logits, Scratch & scratch) const;
    llama_token choose(const float * logits, Scratch & scratch);
    llama_token choose_admitted(const float * logits, Scratch & scratch);
    llama_token choose_among(std::vector<llama_token_data> & candidates);
    float negligible() const;
    void prepare(std::vector<llama_token_data> & candidates) const;
    llama_token run_chain(std::vector<llama_token_data> & candidates, bool sorted);

    const std::shared_ptr<const Model> model;
    const int n_vocab;
    const float temperature;
    const int top_k;
    const bool ignore_eos;
    const std::vector<llama_logit_bias> bias;
    Penalties penalties;
    llama_token last = -1; // the last draw, which the penalties have not seen yet; -1: none
    LlamaSampler chain;   // typical, top_p, min_p, temperature, dist; null: greedy
    std::unique_ptr<Matcher> grammar; // may be null
};

// What draw returns; an exception becomes an enum ll_no_token, its text in error (size).
int32_t token_or_code(const std::function<llama_token()> & draw, char * error, size_t size);
// Draws, in the same manner.
// mask: may be null. again: in place of the last draw.
int32_t draw_or_code(Sampler & s, const float * logits, const uint64_t * mask, bool again, Scratch & scratch, char * error, size_t size);

// The order of candidates: the better one first, of equal ones the one with the smaller number.
inline bool better(const llama_token_data & a, const llama_token_data & b) { return a.logit > b.logit || (a.logit == b.logit && a.id < b.id); }

// The most likely of n logits; -1 where none is a number. Of equal ones, the first.
llama_token argmax(const float * logits, int n);

// Natural log-probabilities under softmax(logits): of token, and of the `top` most likely tokens, best first.
float log_probabilities(const float * logits, int n, llama_token token, int top, std::vector<ll_alternative> & out);

// The k largest logits as candidates, largest first; of equal ones, the first.
void largest(const float * logits, int n, size_t k, std::vector<llama_token_data> & out);

} // namespace lorikeet

struct ll_sampler {
    lorikeet::Sampler sampler;
};
