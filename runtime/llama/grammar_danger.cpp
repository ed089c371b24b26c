// What llama.cpp does with a grammar has no bounds: it follows every way of reading the answer so far, and goes down
// from rule to rule by recursion until it comes to a character. Its own check for left recursion misses rules that are
// empty only because others are. So the rules are measured first, without recursion.
#include "sampler.h"
#include <algorithm>

namespace lorikeet {

enum { MAX_ELEMENTS = 500000, MAX_DESCENT = 500 };

namespace {

bool is_end(const llama_grammar_element & e) { return e.type == LLAMA_GRETYPE_END || e.type == LLAMA_GRETYPE_ALT; }

// What belongs to the character before it.
bool is_modifier(const llama_grammar_element & e) { return e.type == LLAMA_GRETYPE_CHAR_RNG_UPPER || e.type == LLAMA_GRETYPE_CHAR_ALT; }

// In how many ways a place can be read up to the next character, and as nothing.
struct Ways {
    int64_t first = 0, empty = 0;
};

int64_t capped(int64_t n) { return std::min<int64_t>(n, 1 << 30); }

class Measure {
public:
    explicit Measure(const llama_grammar_rules & r) : rules(r), nullable(r.size(), 0), ways(r.size()), depth(r.size(), 1) { find_nullable(); }

    // Rules in an order in which each comes after those that it can begin with; shorter where rules begin with themselves.
    std::vector<size_t> order() const {
        std::vector<std::vector<size_t>> begins(rules.size()); // rule -> those that can begin with it
        std::vector<size_t> waits(rules.size(), 0), out;
        for (size_t id = 0; id < rules.size(); id++) {
            for_beginnings(id, [&](size_t with) {
                begins[with].push_back(id);
                waits[id]++;
            });
        }
        for (size_t id = 0; id < rules.size(); id++) {
            if (waits[id] == 0) {
                out.push_back(id);
            }
        }
        for (size_t at = 0; at < out.size(); at++) {
            for (size_t id : begins[out[at]]) {
                if (--waits[id] == 0) {
                    out.push_back(id);
                }
            }
        }
        return out;
    }

    // Counts the ways to read a rule, and how deep its beginnings go, from those of the rules that it begins with.
    void count(size_t id) {
        for_beginnings(id, [&](size_t with) { depth[id] = std::max(depth[id], depth[with] + 1); });
        ways[id] = sum(id, nullptr);
    }

    // The most ways at any place of a rule; those of all rules have been counted.
    int64_t most(size_t id) const {
        int64_t most = 0;
        const Ways whole = sum(id, &most);
        return std::max({most, whole.first, whole.empty});
    }

    int descent(size_t id) const { return depth[id]; }
    bool settled() const { return rounds <= MAX_DESCENT; }

private:
    // Each round goes one rule deeper where the rules stand in the wrong order.
    void find_nullable() {
        for (bool changed = true; changed;) {
            changed = false;
            if (rounds++ > MAX_DESCENT) {
                return;
            }
            for (size_t id = 0; id < rules.size(); id++) {
                bool empty = true; // the alternative so far
                for (const llama_grammar_element & e : rules[id]) {
                    if (!is_end(e)) {
                        empty = empty && e.type == LLAMA_GRETYPE_RULE_REF && nullable[e.value];
                        continue;
                    }
                    if (empty && !nullable[id]) {
                        nullable[id] = 1;
                        changed = true;
                    }
                    empty = true;
                }
            }
        }
    }

    // Calls f for every rule that a rule can begin with, once for each place.
    template <class F> void for_beginnings(size_t id, F f) const {
        bool at_start = true;
        for (const llama_grammar_element & e : rules[id]) {
            if (is_end(e)) {
                at_start = true;
            } else if (at_start) {
                if (e.type == LLAMA_GRETYPE_RULE_REF) {
                    f((size_t) e.value);
                }
                at_start = e.type == LLAMA_GRETYPE_RULE_REF && nullable[e.value];
            }
        }
    }

    // The ways of a rule, over its alternatives. most, where given, becomes the largest number at any of its places.
    Ways sum(size_t id, int64_t * most) const {
        Ways total, rest{0, 1}; // rest is what follows in the alternative, from its end to its beginning
        for (size_t i = rules[id].size(); i-- > 0;) {
            const llama_grammar_element & e = rules[id][i];
            if (is_end(e)) {
                total = e.type == LLAMA_GRETYPE_END ? total : Ways{capped(total.first + rest.first), capped(total.empty + rest.empty)};
                rest = {0, 1};
            } else if (e.type == LLAMA_GRETYPE_RULE_REF) {
                const Ways & w = ways[e.value];
                rest = {capped(w.first + w.empty*rest.first), capped(w.empty*rest.empty)};
            } else if (!is_modifier(e)) {
                rest = {1, 0};
            }
            if (most) {
                *most = std::max({*most, rest.first, rest.empty});
            }
        }
        return {capped(total.first + rest.first), capped(total.empty + rest.empty)};
    }

    const llama_grammar_rules & rules;
    std::vector<char> nullable;
    std::vector<Ways> ways;
    std::vector<int> depth;
    int rounds = 0;
};

} // namespace

std::string grammar_danger(const llama_grammar_rules & rules) {
    size_t elements = 0;
    for (const llama_grammar_rule & rule : rules) {
        elements += rule.size();
    }
    if (elements > MAX_ELEMENTS) {
        return "with its repetitions it has more than " + std::to_string(MAX_ELEMENTS) + " elements";
    }
    const std::string deep = "its rules begin with each other more than " + std::to_string(MAX_DESCENT) + " deep";
    Measure measure(rules);
    if (!measure.settled()) {
        return deep;
    }
    const std::vector<size_t> order = measure.order();
    if (order.size() < rules.size()) {
        return "a rule begins with itself (left recursion)";
    }
    for (size_t id : order) {
        measure.count(id);
        if (measure.descent(id) > MAX_DESCENT) {
            return deep;
        }
    }
    for (size_t id : order) {
        if (measure.most(id) > MAX_READINGS) {
            return "a place in it can be read in more than " + std::to_string(MAX_READINGS) + " ways";
        }
    }
    return "";
}

} // namespace lorikeet
