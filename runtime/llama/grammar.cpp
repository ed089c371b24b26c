// The matcher of one grammar: its stacks and states, and the budget of steps. grammar.h explains it.
#include "grammar.h"
#include <algorithm>

namespace lorikeet {

Matcher::Matcher(const ll_grammar & g, std::shared_ptr<const TokenBytes> t)
    : tokens(std::move(t)), rules(g, tokens->n_vocab()), current{DEAD}, nodes(1), seen(1), points(tokens->longest + 1) {
    for (const uint32_t * a = rules.alternatives_begin(0); a != rules.alternatives_end(0); a++) {
        add(rules.is_end(*a) ? 0 : push(*a, 0));
    }
    current.state = make_state();
    if (current.state == DEAD) {
        throw std::runtime_error("the grammar admits no answer");
    }
}

void Matcher::spend(int64_t steps) {
    budget -= steps;
    if (budget < 0) {
        throw GrammarCost("following the grammar takes too much work for one token: it is too ambiguous");
    }
}

void Matcher::begin_token() {
    budget = std::min<int64_t>(GRAMMAR_BURST, budget + GRAMMAR_REFILL);
    crowded = false;
    if (sets[(size_t) current.state].count > MAX_READINGS) {
        fail_readings();
    }
}

void Matcher::fail_readings() {
    throw GrammarCost("the answer can be read in more than " + std::to_string(MAX_READINGS) + " ways under the grammar");
}

// ---- stacks ----------------------------------------------------------------------------------------

Matcher::Stack Matcher::push(uint32_t place, Stack below) {
    spend(COST_NODE);
    const auto [it, is_new] = node_of.try_emplace((uint64_t) place << 32 | below, (Stack) nodes.size());
    if (is_new) {
        if (nodes.size() >= MAX_NODES) {
            throw GrammarCost("the answer is nested too deep to be followed under the grammar");
        }
        nodes.push_back({place, below});
        seen.push_back(0);
    }
    return it->second;
}

Matcher::Stack Matcher::after(Stack s) {
    const Node n = nodes[s];
    return rules.is_end(n.place + 1) ? n.below : push(n.place + 1, n.below);
}

void Matcher::add(Stack s) {
    if (added.empty()) {
        round++;
    }
    if (seen[s] != round) {
        seen[s] = round;
        added.push_back(s);
    }
}

// A stack that has a rule on top is replaced by one for each of the rule's alternatives. None is added twice, so this
// ends even for rules that begin with themselves, were there any, when the budget does.
Matcher::State Matcher::make_state() {
    found.clear();
    for (size_t i = 0; i < added.size(); i++) {
        const Stack s = added[i];
        spend(COST_MEMBER);
        if (s == 0 || rules[nodes[s].place].kind != LL_GRAMMAR_REF) {
            found.push_back(s);
            continue;
        }
        const uint32_t rule = rules[nodes[s].place].value;
        const Stack below = after(s);
        for (const uint32_t * a = rules.alternatives_begin(rule); a != rules.alternatives_end(rule); a++) {
            spend(COST_MATCH);
            add(rules.is_end(*a) ? below : push(*a, below));
        }
    }
    added.clear();
    return intern();
}

// ---- states ----------------------------------------------------------------------------------------

Matcher::State Matcher::intern() {
    if (found.empty()) {
        return DEAD;
    }
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    spend(COST_MEMBER*(int64_t) found.size());
    uint64_t hash = 14695981039346656037u;
    for (Stack s : found) {
        hash = (hash ^ s)*1099511628211u;
    }
    const auto [from, to] = set_of.equal_range(hash);
    for (auto it = from; it != to; ++it) {
        const Set & set = sets[(size_t) it->second];
        if (set.count == found.size() && std::equal(found.begin(), found.end(), members.begin() + set.first)) {
            return it->second;
        }
    }
    if (sets.size() >= MAX_STATES || members.size() + found.size() > MAX_MEMBERS) {
        throw GrammarCost("following the grammar takes too much memory for one token: it is too ambiguous");
    }
    Set set{(uint32_t) members.size(), (uint32_t) found.size(), found[0] == 0, false, -1, {}};
    for (Stack s : found) {
        const uint32_t kind = rules[nodes[s].place].kind;
        set.has_token |= s != 0 && (kind == LL_GRAMMAR_TOKEN || kind == LL_GRAMMAR_NOT_TOKEN);
    }
    members.insert(members.end(), found.begin(), found.end());
    sets.push_back(std::move(set));
    set_of.emplace(hash, (State) sets.size() - 1);
    return (State) sets.size() - 1;
}

// The state after a character. A state with too many readings is not followed: an answer that stands in it or is about to
// go through it ends with an error (begin_token, admits), and admitted() leaves out the tokens that would.
Matcher::State Matcher::next(State s, uint32_t c) {
    spend(COST_CHARACTER);
    Set & set = sets[(size_t) s];
    if (set.count > MAX_READINGS) {
        crowded = true;
        return DEAD;
    }
    if (c < 128) {
        if (set.table < 0) {
            spend(COST_TABLE);
            set.table = (int32_t) tables.size();
            tables.emplace_back().fill(UNKNOWN);
        }
        const State known = tables[(size_t) set.table][c];
        if (known != UNKNOWN) {
            return known;
        }
    }
    Mask m;
    for (uint32_t i = 0; i < set.count; i++) {
        const Stack stack = members[set.first + i];
        spend(COST_MATCH);
        if (stack != 0 && rules.matches(rules[nodes[stack].place], c)) {
            m.bits[i/64] |= (uint64_t) 1 << i%64;
        }
    }
    const State to = follow(s, m);
    if (c < 128) {
        tables[(size_t) sets[(size_t) s].table][c] = to;
    }
    return to;
}

Matcher::State Matcher::follow(State s, const Mask & m) {
    if (m == Mask{}) {
        return DEAD;
    }
    for (const Edge & e : sets[(size_t) s].edges) {
        spend(COST_CHARACTER);
        if (e.mask == m) {
            return e.to;
        }
    }
    for (uint32_t i = 0; i < sets[(size_t) s].count; i++) {
        if (m.bits[i/64] >> i%64 & 1) {
            add(after(members[sets[(size_t) s].first + i]));
        }
    }
    const State to = make_state();
    sets[(size_t) s].edges.push_back({m, to});
    return to;
}

// ---- memory ----------------------------------------------------------------------------------------

// Keeps the present state alone. A node stands behind the one below it, so one pass finds all that are needed.
void Matcher::compact() {
    spend(COST_MATCH*(int64_t) nodes.size());
    const Set & set = sets[(size_t) current.state];
    found.assign(members.begin() + set.first, members.begin() + set.first + set.count);
    std::vector<Stack> to(nodes.size(), 0); // new numbers; first, 1 for those that are needed
    for (Stack s : found) {
        to[s] = 1;
    }
    for (size_t s = nodes.size() - 1; s > 0; s--) {
        if (to[s]) {
            to[nodes[s].below] = 1;
        }
    }
    std::vector<Node> kept(1);
    to[0] = 0;
    for (size_t s = 1; s < nodes.size(); s++) {
        if (to[s]) {
            to[s] = (Stack) kept.size();
            kept.push_back({nodes[s].place, to[nodes[s].below]});
        }
    }
    if (kept.size() > MAX_NODES/4) {
        throw GrammarCost("the answer is nested too deep to be followed under the grammar");
    }
    nodes = std::move(kept);
    node_of.clear();
    for (size_t s = 1; s < nodes.size(); s++) {
        node_of.emplace((uint64_t) nodes[s].place << 32 | nodes[s].below, (Stack) s);
    }
    seen.assign(nodes.size(), 0);
    round = 0;
    sets.clear();
    set_of.clear();
    members.clear();
    tables.clear();
    for (Stack & s : found) {
        s = to[s];
    }
    current.state = intern();
}

} // namespace lorikeet
