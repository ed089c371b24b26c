// Tokens in the matcher of a grammar: their bytes are read as characters, one after the other. grammar.h explains it.
#include "grammar.h"
#include <algorithm>

namespace lorikeet {

// ---- bytes -----------------------------------------------------------------------------------------

// Whether some character that begins with the bytes so far may come.
bool Matcher::matches_partial(const Point & p) {
    const Set & set = sets[(size_t) p.state];
    const uint32_t low = std::max(p.value << 6*p.missing, p.least);
    const uint32_t high = std::min(p.value << 6*p.missing | ((1u << 6*p.missing) - 1), 0x10ffffu);
    if (low > high || (low >= 0xd800 && high <= 0xdfff)) {
        return false;
    }
    if (set.count > MAX_READINGS) {
        crowded = true;
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
    const Point dead{DEAD};
    if (p.missing == 0) {
        if (byte < 0x80) {
            p.state = byte == 0 ? DEAD : next(p.state, byte); // no answer has zeros: what reads it may end there
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
    Point p = length > 0 ? current : Point{DEAD};
    for (size_t i = 0; i < length && p.state != DEAD; i++) {
        p = step(p, bytes[i]);
    }
    return p;
}

// ---- tokens ----------------------------------------------------------------------------------------

bool Matcher::matches_token(const ll_grammar_element & e, llama_token token) const {
    size_t length;
    tokens->of(token, length);
    return (e.kind == LL_GRAMMAR_TOKEN && e.value == (uint32_t) token) ||
           (e.kind == LL_GRAMMAR_NOT_TOKEN && e.value != (uint32_t) token && length > 0);
}

// Whether some stack has the token itself on top, or any but another one.
bool Matcher::matches_by_id(State s, llama_token token) {
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
        return current.missing == 0 && sets[(size_t) current.state].may_end;
    }
    if ((current.missing == 0 && matches_by_id(current.state, token)) || walk(token).state != DEAD) {
        return true;
    }
    if (crowded) {
        fail_readings();
    }
    return false;
}

// Goes through the tokens in the order of their bytes and keeps the point after each byte, so that the bytes that many
// tokens begin with are followed once.
void Matcher::admitted(std::vector<uint8_t> & out) {
    out.assign(tokens->n_vocab(), 0);
    points[0] = current;
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
            if (points[alive + 1].state == DEAD) {
                break;
            }
        }
        out[(size_t) token] = alive == length;
    }
    if (current.missing == 0) {
        admit_by_id(out);
    }
    for (size_t t = 0; t < out.size(); t++) {
        if (tokens->is_end((llama_token) t)) {
            out[t] = admits((llama_token) t);
        }
    }
}

// Adds the tokens that stacks have on top, and where they have "any but t", the others that have bytes.
void Matcher::admit_by_id(std::vector<uint8_t> & out) {
    const Set & set = sets[(size_t) current.state];
    int64_t excluded = -1; // the token that all "any but t" so far exclude; out has all others
    for (uint32_t i = 0; set.has_token && i < set.count; i++) {
        const Stack stack = members[set.first + i];
        const ll_grammar_element & e = rules[nodes[stack].place];
        spend(COST_MATCH);
        if (stack == 0 || (e.kind != LL_GRAMMAR_TOKEN && e.kind != LL_GRAMMAR_NOT_TOKEN)) {
            continue;
        }
        if (e.kind == LL_GRAMMAR_TOKEN) {
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
    if (current.missing == 0 && matches_by_id(current.state, token)) {
        if (to.state != DEAD && to.missing == 0) {
            const Set & set = sets[(size_t) to.state];
            for (uint32_t i = 0; i < set.count; i++) {
                add(members[set.first + i]);
            }
        }
        const Set & set = sets[(size_t) current.state];
        const uint32_t first = set.first, count = set.count;
        for (uint32_t i = 0; i < count; i++) {
            const Stack stack = members[first + i];
            if (stack != 0 && matches_token(rules[nodes[stack].place], token)) {
                add(after(stack));
            }
        }
        to = {make_state()};
    }
    if (to.state == DEAD) {
        throw std::runtime_error("token " + std::to_string(token) + " was drawn, which the grammar does not admit");
    }
    current = to;
    if (nodes.size() > MAX_NODES/2 || sets.size() > MAX_STATES/2 || members.size() > MAX_MEMBERS/2) {
        compact();
    }
}

} // namespace lorikeet
