#include "sampler.h"
#include <algorithm>
#include <cmath>
#include <cstdio>

namespace lorikeet {

// ---- penalties -------------------------------------------------------------------------------------

Penalties::Penalties(const ll_sampling & s, const int32_t * prompt, int32_t n_prompt)
    : repeat(s.repeat_penalty), presence(s.presence_penalty), frequency(s.frequency_penalty),
      last_n(s.repeat_penalty != 1 ? (size_t) s.repeat_last_n : 0) {
    for (int32_t i = std::max(0, n_prompt - (int32_t) last_n); i < n_prompt; i++) {
        remember(prompt[i]);
    }
}

void Penalties::remember(llama_token token) {
    if (last_n == 0) {
        return;
    }
    if (recent.size() == last_n) {
        auto oldest = recent_counts.find(recent.front());
        if (--oldest->second == 0) {
            recent_counts.erase(oldest);
        }
        recent.pop_front();
    }
    recent.push_back(token);
    recent_counts[token]++;
}

void Penalties::accept(llama_token token) {
    remember(token);
    if (presence != 0 || frequency != 0) {
        answer_counts[token]++;
    }
}

void Penalties::apply(float * logits) const {
    for (const auto & [token, count] : recent_counts) {
        float & l = logits[token];
        l = l <= 0 ? l*repeat : l/repeat;
    }
    for (const auto & [token, count] : answer_counts) {
        logits[token] -= (float) count*frequency + presence;
    }
}

// ---- sampler ---------------------------------------------------------------------------------------

static LlamaSampler checked(llama_sampler * s) {
    if (!s) {
        throw std::bad_alloc();
    }
    return LlamaSampler(s);
}

static LlamaSampler make_chain(const ll_sampling & s) {
    llama_sampler_chain_params params = llama_sampler_chain_default_params();
    params.no_perf = true;
    LlamaSampler chain = checked(llama_sampler_chain_init(params));
    auto add = [&](llama_sampler * next) { llama_sampler_chain_add(chain.get(), checked(next).release()); };
    if (s.typical_p > 0 && s.typical_p < 1) {
        add(llama_sampler_init_typical(s.typical_p, 1));
    }
    if (s.top_p > 0 && s.top_p < 1) {
        add(llama_sampler_init_top_p(s.top_p, 1));
    }
    if (s.min_p > 0) {
        add(llama_sampler_init_min_p(s.min_p, 1));
    }
    add(llama_sampler_init_temp(s.temperature));
    add(llama_sampler_init_dist(s.seed));
    return chain;
}

Sampler::Sampler(std::shared_ptr<const Model> m, const ll_sampling & s, const ll_grammar * g,
                 std::vector<llama_logit_bias> biases, const int32_t * prompt, int32_t n_prompt)
    : model(std::move(m)), n_vocab(model->n_vocab()), temperature(s.temperature), top_k(s.top_k), ignore_eos(s.ignore_eos),
      bias(std::move(biases)), penalties(s, prompt, n_prompt) {
    if (temperature > 0) {
        chain = make_chain(s);
    }
    if (g) {
        grammar = std::make_unique<Matcher>(*g, token_bytes(*model));
    }
}

const float * Sampler::shape(const float * logits, Scratch & scratch) const {
    scratch.logits.assign(logits, logits + n_vocab);
    float * l = scratch.logits.data();
    for (const llama_logit_bias & b : bias) {
        l[b.token] += b.bias;
    }
    if (penalties.on()) {
        penalties.apply(l);
    }
    if (ignore_eos) {
        for (llama_token t : model->end_tokens) {
            l[t] = -INFINITY;
        }
    }
    return l;
}

llama_token Sampler::draw(const float * logits, Scratch & scratch) {
    if (grammar) {
        grammar->begin_token();
    }
    if (last >= 0) {
        penalties.accept(last);
    }
    if (shaped()) {
        logits = shape(logits, scratch);
    }
    llama_token token = choose(logits, scratch);
    // A draw that the grammar admits is kept; otherwise the grammar goes first. Testing one token is cheap,
    // testing the vocabulary is not, and the distribution is the same: p(t) + p(rejected) p(t)/p(admitted)
    // = p(t)/p(admitted).
    if (grammar && token >= 0 && !grammar->admits(token)) {
        token = choose_admitted(logits, scratch);
    }
    if (token >= 0 && grammar) {
        grammar->accept(token);
    }
    last = token;
    return token;
}

llama_token Sampler::take_best(llama_token best) {
    last = best;
    return last;
}

llama_token Sampler::draw_top(std::vector<llama_token_data> & best) {
    last = run_chain(best, true);
    return last;
}

llama_token Sampler::draw_among(const float * logits, const uint64_t * mask, Scratch & scratch) {
    if (last >= 0) {
        penalties.accept(last);
    }
    return redraw(logits, mask, scratch);
}

// Under a temperature T, a logit that is 40*max(T, 1) below the best has a probability below 1e-17 of the
// best one's: it is left out before anything is sorted or exponentiated. top_p and typical see the same
// distribution, whose cumulative sums are floats.
static const float NEGLIGIBLE = 40;

float Sampler::negligible() const { return NEGLIGIBLE*std::max(temperature, 1.0f); }

llama_token Sampler::redraw(const float * logits, const uint64_t * mask, Scratch & scratch) {
    if (shaped()) {
        logits = shape(logits, scratch);
    }
    const llama_token best = lk_argmax(logits, mask, n_vocab);
    if (!chain || best < 0) {
        return last = best;
    }
    std::vector<llama_token_data> & c = scratch.candidates;
    c.clear();
    const float least = logits[best] - negligible();
    const auto add = [&](llama_token t) {
        if (logits[t] >= least) {
            c.push_back({t, logits[t], 0});
        }
    };
    for (llama_token from = 0; from < n_vocab; from += 64) {
        uint64_t bits = mask[from/64];
        if (bits == ~0ull && from + 64 <= n_vocab) { // texts admit nearly all tokens
            for (llama_token t = from; t < from + 64; t++) {
                add(t);
            }
            continue;
        }
        for (; bits != 0; bits &= bits - 1) {
            if (const llama_token t = from + __builtin_ctzll(bits); t < n_vocab) {
                add(t);
            }
        }
    }
    return last = choose_among(c);
}

llama_token Sampler::choose(const float * logits, Scratch & scratch) {
    const llama_token best = argmax(logits, n_vocab);
    if (!chain || best < 0) {
        return best;
    }
    std::vector<llama_token_data> & c = scratch.candidates;
    c.clear();
    if (top_k > 0) {
        largest(logits, n_vocab, (size_t) top_k, c);
        return run_chain(c, true);
    }
    const float least = logits[best] - negligible();
    for (llama_token t = 0; t < n_vocab; t++) {
        if (logits[t] >= least) {
            c.push_back({t, logits[t], 0});
        }
    }
    return run_chain(c, false);
}

llama_token Sampler::choose_admitted(const float * logits, Scratch & scratch) {
    std::vector<llama_token_data> & c = scratch.candidates;
    c.clear();
    grammar->admitted(scratch.admitted);
    for (llama_token t = 0; t < n_vocab; t++) {
        if (scratch.admitted[(size_t) t] && logits[t] > -INFINITY) {
            c.push_back({t, logits[t], 0});
        }
    }
    return choose_among(c);
}

llama_token Sampler::choose_among(std::vector<llama_token_data> & c) {
    if (c.empty()) {
        return -1;
    }
    if (!chain) {
        return std::min_element(c.begin(), c.end(), better)->id;
    }
    if (top_k <= 0) {
        return run_chain(c, false);
    }
    const size_t k = std::min((size_t) top_k, c.size());
    std::partial_sort(c.begin(), c.begin() + (ptrdiff_t) k, c.end(), better);
    c.resize(k);
    return run_chain(c, true);
}

// llama.cpp's samplers abort or sort by NaN where a logit divided by the temperature is infinite, or where a probability
// is 0. So the best logit becomes 0, which leaves the distribution as it is, and what is negligible goes.
void Sampler::prepare(std::vector<llama_token_data> & candidates) const {
    float best = -INFINITY;
    for (const llama_token_data & d : candidates) {
        best = std::max(best, d.logit);
    }
    size_t kept = 0;
    for (const llama_token_data & d : candidates) {
        const float below = d.logit == best ? 0 : d.logit - best; // both may be infinite
        if (below >= -negligible()) {
            candidates[kept++] = {d.id, below, 0};
        }
    }
    candidates.resize(kept);
}

llama_token Sampler::run_chain(std::vector<llama_token_data> & candidates, bool sorted) {
    prepare(candidates);
    if (candidates.empty()) {
        return -1;
    }
    llama_token_data_array array{candidates.data(), candidates.size(), -1, sorted};
    llama_sampler_apply(chain.get(), &array);
    return array.selected >= 0 && (size_t) array.selected < array.size ? array.data[array.selected].id : -1;
}

int32_t token_or_code(const std::function<llama_token()> & draw, char * error, size_t size) {
    try {
        return draw();
    } catch (const GrammarCost & e) {
        snprintf(error, size, "%s", e.what());
        return LL_GRAMMAR_COST;
    } catch (const std::bad_alloc &) {
        snprintf(error, size, "choosing a token");
        return LL_SAMPLER_NO_MEMORY;
    } catch (const std::exception & e) {
        snprintf(error, size, "%s", e.what());
    } catch (...) {
        snprintf(error, size, "an unknown C++ exception");
    }
    return LL_SAMPLER_FAILED;
}

int32_t draw_or_code(Sampler & s, const float * logits, const uint64_t * mask, bool again, Scratch & scratch, char * error, size_t size) {
    return token_or_code([&] {
        if (!mask) {
            return s.draw(logits, scratch);
        }
        return again ? s.redraw(logits, mask, scratch) : s.draw_among(logits, mask, scratch);
    }, error, size);
}

} // namespace lorikeet

using namespace lorikeet;

ll_sampler * ll_sampler_new(const ll_model * m, const ll_sampling * s, const ll_grammar * grammar,
                                const int32_t * bias_tokens, const float * bias, int32_t n_bias,
                                const int32_t * prompt, int32_t n_prompt, ll_error * err) {
    Call call(m->model->log);
    return guarded(err, (ll_sampler *) nullptr, [&] {
        std::vector<llama_logit_bias> biases;
        biases.reserve((size_t) n_bias);
        for (int32_t i = 0; i < n_bias; i++) {
            biases.push_back({bias_tokens[i], bias[i]});
        }
        return new ll_sampler{Sampler(m->model, *s, grammar, std::move(biases), prompt, n_prompt)};
    });
}

void ll_sampler_free(ll_sampler * s) { delete s; }
