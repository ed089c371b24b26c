// Checks a grammar before llama.cpp sees it: its own parser prints faults to stderr, recurses without bound,
// and does not say what is wrong. The check uses the same parser, rule by rule.
#include "sampler.h"
#include "llama-grammar.h"
#include <algorithm>
#include <cstring>

namespace lorikeet {

// The parser and the grammar's stacks recurse; these bounds keep a hostile grammar off the end of the stack.
enum { MAX_BYTES = 64 << 10, MAX_NESTING = 200 };

// The deepest nesting of parentheses outside strings, character classes and comments.
static int nesting(const char * s) {
    int depth = 0, deepest = 0;
    char inside = 0; // what ends the string, class or comment we are in
    for (; *s; s++) {
        if (inside) {
            if (*s == '\\' && inside != '\n' && s[1]) {
                s++;
            } else if (*s == inside) {
                inside = 0;
            }
            continue;
        }
        switch (*s) {
        case '"': inside = '"'; break;
        case '[': inside = ']'; break;
        case '#': inside = '\n'; break;
        case '(': deepest = std::max(deepest, ++depth); break;
        case ')': depth--; break;
        }
    }
    return deepest;
}

static const char * skip_space(const char * s) {
    while (*s == ' ' || *s == '\t' || *s == '\r' || *s == '\n' || *s == '#') {
        if (*s == '#') {
            while (*s && *s != '\n') {
                s++;
            }
        } else {
            s++;
        }
    }
    return s;
}

// The rule that is referred to but not defined, or "".
static std::string undefined_rule(const llama_grammar_parser & p) {
    for (const auto & [name, id] : p.symbol_ids) {
        if (id >= p.rules.size() || p.rules[id].empty()) {
            return name;
        }
    }
    return "";
}

std::string grammar_fault(const Model & m, const char * text) {
    if (!m.has_vocab() || m.end_tokens.empty()) {
        return "the model has no tokens to write it with, or none to end it";
    }
    if (strlen(text) > MAX_BYTES) {
        return "it is longer than " + std::to_string(MAX_BYTES/1024) + " KiB";
    }
    if (nesting(text) > MAX_NESTING) {
        return "its parentheses are nested deeper than " + std::to_string(MAX_NESTING);
    }
    llama_grammar_parser parser(m.vocab());
    try {
        for (const char * at = skip_space(text); *at;) {
            at = parser.parse_rule(at);
        }
    } catch (const std::exception & e) {
        return std::string(e.what()).substr(0, 200);
    }
    const std::string missing = undefined_rule(parser);
    if (!missing.empty()) {
        return "rule " + missing + " is not defined";
    }
    if (!parser.symbol_ids.count("root")) {
        return "it has no rule named root";
    }
    return grammar_danger(parser.rules);
}

} // namespace lorikeet
