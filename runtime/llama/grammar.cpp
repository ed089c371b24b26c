// The matcher of one grammar: states, what follows them, and the budget of steps. grammar.h explains it.
#include "grammar.h"
#include <algorithm>

namespace lorikeet {

// What things cost, in steps.
constexpr int64_t COST_TOKEN = 1, COST_CHARACTER = 1, COST_MATCH = 4, COST_NODE = 16, COST_MEMBER = 8, COST_TABLE = 32;

Matcher::Matcher(const wall_grammar & g, std::shared_ptr<const TokenBytes> t)
    : tokens(std::move(t)), rules(g, tokens->n_vocab()), here{NOWHERE}, nodes(1), seen(1), points(tokens->longest + 1) {
    for (const uint32_t * a = rules.alternatives_begin(0); a != rules.alternatives_end(0); a++) {
        open(rules.is_end(*a) ? 0 : push(*a, 0));
    }
    here.state = finish();
    if (here.state == NOWHERE) {
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
    if (sets[(size_t) here.state].count > MAX_READINGS) {
        throw GrammarCost("the answer can be read in more than " + std::to_string(MAX_READINGS) + " ways under the grammar");
    }
}

// ---- stacks ----------------------------------------------------------------------------------------

Matcher::Stack Matcher::push(uint32_t place, Stack below) {
    spend(COST_NODE);
    const auto [it, added] = node_of.try_emplace((uint64_t) place << 32 | below, (Stack) nodes.size());
    if (added) {
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

void Matcher::open(Stack s) {
    if (opened.empty()) {
        round++;
    }
    if (seen[s] != round) {
        seen[s] = round;
        opened.push_back(s);
    }
}

// A stack that has a rule on top is replaced by one for each of the rule's alternatives. None is opened twice, so this
// ends even for rules that begin with themselves, were there any, when the budget does.
Matcher::State Matcher::finish() {
    found.clear();
    for (size_t i = 0; i < opened.size(); i++) {
        const Stack s = opened[i];
        spend(COST_MEMBER);
        if (s == 0 || rules[nodes[s].place].kind != WALL_GRAMMAR_REF) {
            found.push_back(s);
            continue;
        }
        const uint32_t rule = rules[nodes[s].place].value;
        const Stack below = after(s);
        for (const uint32_t * a = rules.alternatives_begin(rule); a != rules.alternatives_end(rule); a++) {
            spend(COST_MATCH);
            open(rules.is_end(*a) ? below : push(*a, below));
        }
    }
    opened.clear();
    return intern();
}

// ---- states ----------------------------------------------------------------------------------------

Matcher::State Matcher::intern() {
    if (found.empty()) {
        return NOWHERE;
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
        set.has_token |= s != 0 && (kind == WALL_GRAMMAR_TOKEN || kind == WALL_GRAMMAR_NOT_TOKEN);
    }
    members.insert(members.end(), found.begin(), found.end());
    sets.push_back(std::move(set));
    set_of.emplace(hash, (State) sets.size() - 1);
    return (State) sets.size() - 1;
}

// The state after a character. A state with too many readings is not followed: a token that goes through it is not
// admitted, and an answer that stands in it ends (begin_token).
Matcher::State Matcher::next(State s, uint32_t c) {
    spend(COST_CHARACTER);
    Set & set = sets[(size_t) s];
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
    State to = NOWHERE;
    if (set.count <= MAX_READINGS) {
        Mask m;
        for (uint32_t i = 0; i < set.count; i++) {
            const Stack stack = members[set.first + i];
            spend(COST_MATCH);
            if (stack != 0 && rules.matches(rules[nodes[stack].place], c)) {
                m.bits[i/64] |= (uint64_t) 1 << i%64;
            }
        }
        to = follow(s, m);
    }
    if (c < 128) {
        tables[(size_t) sets[(size_t) s].table][c] = to;
    }
    return to;
}

Matcher::State Matcher::follow(State s, const Mask & m) {
    if (m == Mask{}) {
        return NOWHERE;
    }
    for (const Edge & e : sets[(size_t) s].edges) {
        spend(COST_CHARACTER);
        if (e.mask == m) {
            return e.to;
        }
    }
    for (uint32_t i = 0; i < sets[(size_t) s].count; i++) {
        if (m.bits[i/64] >> i%64 & 1) {
            open(after(members[sets[(size_t) s].first + i]));
        }
    }
    const State to = finish();
    sets[(size_t) s].edges.push_back({m, to});
    return to;
}

// ---- bytes -----------------------------------------------------------------------------------------

// Whether some character that begins with the bytes so far may come.
bool Matcher::matches_partial(const Point & p) {
    const Set & set = sets[(size_t) p.state];
    const uint32_t low = std::max(p.value << 6*p.missing, p.least);
    const uint32_t high = std::min(p.value << 6*p.missing | ((1u << 6*p.missing) - 1), 0x10ffffu);
    if (low > high || (low >= 0xd800 && high <= 0xdfff) || set.count > MAX_READINGS) {
        return false;
    }
    for (uint32_t i = 0; i < set.count; i++) {
        const Stack stack = members[set.first + i];
        spend(COST_MATCH);
        if (stack != 0 && rules.matches_any(rules[nodes[stack].place], low, high)) {
            return true;
        }
    }
    return false;
}

Matcher::Point Matcher::step(Point p, uint8_t byte) {
    const Point dead{NOWHERE};
    if (p.missing == 0) {
        if (byte < 0x80) {
            p.state = byte == 0 ? NOWHERE : next(p.state, byte); // no answer has zeros: what reads it may end there
            return p;
        }
        if (byte < 0xc2 || byte > 0xf4) {
            return dead;
        }
        p.missing = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
        p.least = std::array<uint32_t, 4>{0, 0x80, 0x800, 0x10000}[(size_t) p.missing];
        p.value = byte & (0x3fu >> p.missing);
        return matches_partial(p) ? p : dead;
    }
    if ((byte & 0xc0) != 0x80) {
        return dead;
    }
    p.value = p.value << 6 | (byte & 0x3f);
    if (--p.missing > 0) {
        return matches_partial(p) ? p : dead;
    }
    if (p.value < p.least || p.value > 0x10ffff || (p.value >= 0xd800 && p.value <= 0xdfff)) {
        return dead;
    }
    return {next(p.state, p.value)};
}

// The point after a token that is read as characters.
Matcher::Point Matcher::walk(llama_token token) {
    size_t length;
    const uint8_t * bytes = tokens->of(token, length);
    Point p = length > 0 ? here : Point{NOWHERE};
    for (size_t i = 0; i < length && p.state != NOWHERE; i++) {
        p = step(p, bytes[i]);
    }
    return p;
}

// ---- tokens ----------------------------------------------------------------------------------------

bool Matcher::matches_token(const wall_grammar_element & e, llama_token token) const {
    size_t length;
    tokens->of(token, length);
    return (e.kind == WALL_GRAMMAR_TOKEN && e.value == (uint32_t) token) ||
           (e.kind == WALL_GRAMMAR_NOT_TOKEN && e.value != (uint32_t) token && length > 0);
}

// Whether some stack has the token itself on top, or any but another one.
bool Matcher::names(State s, llama_token token) {
    const Set & set = sets[(size_t) s];
    for (uint32_t i = 0; set.has_token && i < set.count; i++) {
        const Stack stack = members[set.first + i];
        spend(COST_MATCH);
        if (stack != 0 && matches_token(rules[nodes[stack].place], token)) {
            return true;
        }
    }
    return false;
}

bool Matcher::admits(llama_token token) {
    if (tokens->is_end(token)) {
        return here.missing == 0 && sets[(size_t) here.state].may_end;
    }
    return (here.missing == 0 && names(here.state, token)) || walk(token).state != NOWHERE;
}

// Goes through the tokens in the order of their bytes and keeps the point after each byte, so that the bytes that many
// tokens begin with are followed once.
void Matcher::admitted(std::vector<uint8_t> & out) {
    out.assign(tokens->n_vocab(), 0);
    points[0] = here;
    size_t alive = 0; // bytes of the last token that could be followed
    for (size_t i = 0; i < tokens->order.size(); i++) {
        spend(COST_TOKEN);
        if (tokens->shared[i] > alive) {
            continue; // it begins with what could not be followed
        }
        const llama_token token = tokens->order[i];
        size_t length;
        const uint8_t * bytes = tokens->of(token, length);
        for (alive = tokens->shared[i]; alive < length; alive++) {
            points[alive + 1] = step(points[alive], bytes[alive]);
            if (points[alive + 1].state == NOWHERE) {
                break;
            }
        }
        out[(size_t) token] = alive == length;
    }
    if (here.missing == 0) {
        add_named(out);
    }
    for (size_t t = 0; t < out.size(); t++) {
        if (tokens->is_end((llama_token) t)) {
            out[t] = admits((llama_token) t);
        }
    }
}

// Adds the tokens that stacks have on top, and where they have "any but t", the others that have bytes.
void Matcher::add_named(std::vector<uint8_t> & out) {
    const Set & set = sets[(size_t) here.state];
    int64_t excluded = -1; // the token that all "any but t" so far exclude; out has all others
    for (uint32_t i = 0; set.has_token && i < set.count; i++) {
        const Stack stack = members[set.first + i];
        const wall_grammar_element & e = rules[nodes[stack].place];
        spend(COST_MATCH);
        if (stack == 0 || (e.kind != WALL_GRAMMAR_TOKEN && e.kind != WALL_GRAMMAR_NOT_TOKEN)) {
            continue;
        }
        if (e.kind == WALL_GRAMMAR_TOKEN) {
            out[e.value] = 1;
        } else if (excluded < 0) {
            spend((int64_t) out.size());
            excluded = e.value;
            for (llama_token t : tokens->order) {
                out[(size_t) t] |= (uint32_t) t != e.value;
            }
        } else if (matches_token(e, (llama_token) excluded)) {
            out[(size_t) excluded] = 1;
        }
    }
}

// A token that the grammar names and that can be read as characters too is both. Where the characters would end within
// one, it is the named token alone.
void Matcher::accept(llama_token token) {
    if (tokens->is_end(token)) {
        return;
    }
    Point to = walk(token);
    if (here.missing == 0 && names(here.state, token)) {
        if (to.state != NOWHERE && to.missing == 0) {
            const Set & set = sets[(size_t) to.state];
            for (uint32_t i = 0; i < set.count; i++) {
                open(members[set.first + i]);
            }
        }
        const Set & set = sets[(size_t) here.state];
        const uint32_t first = set.first, count = set.count;
        for (uint32_t i = 0; i < count; i++) {
            const Stack stack = members[first + i];
            if (stack != 0 && matches_token(rules[nodes[stack].place], token)) {
                open(after(stack));
            }
        }
        to = {finish()};
    }
    if (to.state == NOWHERE) {
        throw std::runtime_error("token " + std::to_string(token) + " was drawn, which the grammar does not admit");
    }
    here = to;
    if (nodes.size() > MAX_NODES/2 || sets.size() > MAX_STATES/2 || members.size() > MAX_MEMBERS/2) {
        compact();
    }
}

// Keeps the present state alone. A node stands behind the one below it, so one pass finds all that are needed.
void Matcher::compact() {
    spend(COST_MATCH*(int64_t) nodes.size());
    const Set & set = sets[(size_t) here.state];
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
    here.state = intern();
}

} // namespace lorikeet
