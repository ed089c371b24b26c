// Follows a grammar through an answer: which tokens may come next, and what is left of the grammar after one of them.
//
// The rules come compiled from package grammar, which bounds their number and refuses those that begin with themselves
// or have places with too many readings. That bounds the start; what an answer costs later depends on the answer: rules
// that recurse in their middle can double the readings with every character, and a token is tried against every one of
// them. So all work here is counted in steps of some nanoseconds, and a Matcher has a budget of them, which each token
// fills up a little. Whatever the grammar, the work for one token is at most GRAMMAR_BURST steps and on average at most
// GRAMMAR_REFILL; a Matcher that needs more throws GrammarCost, which ends its stream and no other. Steps and not time
// are counted so that an answer does not depend on the machine or on what else it does.
//
// Readings are stacks of places in the rules, as in every recognizer of context-free languages by pushdown automata.
// Stacks share their lower parts: a stack is the number of a node, its top place and the stack below. Equal stacks are
// one node, and equal sets of stacks are one state with a table of what follows it, so that a character in a state that
// has met one like it costs one look into a table, and a whole vocabulary some milliseconds.
#pragma once
#include "model.h"
#include <array>

namespace lorikeet {

constexpr int64_t GRAMMAR_BURST = 32000000; // steps that one token may take: less than 0.1 s
constexpr int64_t GRAMMAR_REFILL = 4000000; // steps that each token adds: some 10 ms

// What things cost, in steps.
constexpr int64_t COST_TOKEN = 1, COST_CHARACTER = 1, COST_MATCH = 4, COST_NODE = 16, COST_MEMBER = 8, COST_TABLE = 32;

// The bounds of a matcher's memory, some 20 MB in all.
constexpr size_t MAX_READINGS = 128; // stacks of a state that is followed; package grammar has the same number
constexpr size_t MAX_NODES = 1 << 17;
constexpr size_t MAX_STATES = 1 << 14;
constexpr size_t MAX_MEMBERS = 1 << 18; // stacks over all states

// The grammar costs more than it may. The text says which bound it met.
struct GrammarCost : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The bytes of all tokens, control tokens as their text. It never changes and is shared by all matchers of a model.
class TokenBytes {
public:
    explicit TokenBytes(const Model & m);

    size_t n_vocab() const { return ends.size(); }
    bool is_end(llama_token t) const { return ends[(size_t) t] != 0; }
    const uint8_t * of(llama_token t, size_t & length) const {
        length = begin[(size_t) t + 1] - begin[(size_t) t];
        return (const uint8_t *) bytes.data() + begin[(size_t) t];
    }

    // The tokens that have bytes and do not end an answer, in the order of their bytes; and for each how many of its
    // first bytes are those of the one before it.
    std::vector<llama_token> order;
    std::vector<uint32_t> shared;
    size_t longest = 0;

private:
    std::string bytes;
    std::vector<uint32_t> begin; // (vocabulary + 1)
    std::vector<uint8_t> ends;   // (vocabulary)
};

// The model's, made by the first caller. Any thread.
std::shared_ptr<const TokenBytes> token_bytes(const Model & m);

// The rules of one grammar, checked and indexed.
class GrammarRules {
public:
    explicit GrammarRules(const ll_grammar & g, size_t n_vocab);

    const ll_grammar_element & operator[](size_t at) const { return elements[at]; }
    bool is_end(size_t at) const { return elements[at].kind == LL_GRAMMAR_END || elements[at].kind == LL_GRAMMAR_OR; }
    // The places where the alternatives of a rule begin.
    const uint32_t * alternatives_begin(size_t rule) const { return starts.data() + first_start[rule]; }
    const uint32_t * alternatives_end(size_t rule) const { return starts.data() + first_start[rule + 1]; }

    bool matches(const ll_grammar_element & e, uint32_t c) const;
    // Whether a character from low to high matches.
    bool matches_any(const ll_grammar_element & e, uint32_t low, uint32_t high) const;

private:
    struct Class {
        std::array<uint64_t, 2> ascii{}; // a bit for each of the first 128 characters
        uint32_t begin = 0, end = 0;     // in ranges
    };
    const ll_grammar_range * range_from(const Class & c, uint32_t low) const; // the first that ends at low or later

    std::vector<ll_grammar_element> elements;
    std::vector<uint32_t> starts, first_start;
    std::vector<ll_grammar_range> ranges; // of a class: sorted and apart
    std::vector<Class> classes;
};

// What is left of a grammar at a point of one answer. One thread at a time.
class Matcher {
public:
    Matcher(const ll_grammar & g, std::shared_ptr<const TokenBytes> tokens);
    ~Matcher() = default;
    Matcher(const Matcher &) = delete;
    Matcher & operator=(const Matcher &) = delete;

    // All of these throw GrammarCost; the matcher cannot be used after that.
    void begin_token();
    bool admits(llama_token token);
    void admitted(std::vector<uint8_t> & out); // out (vocabulary) becomes 1 where the token may come next, else 0
    void accept(llama_token token);            // one that is admitted

private:
    using Stack = uint32_t; // a node; 0 is the empty stack
    using State = int32_t;  // a set of stacks whose tops are characters, classes or tokens; or one of:
    static constexpr State DEAD = -1, UNKNOWN = -2;

    struct Node {
        uint32_t place; // in the rules
        Stack below;
    };
    struct Mask { // the stacks of a state that a character matches
        std::array<uint64_t, 2> bits{};
        bool operator==(const Mask & m) const { return bits == m.bits; }
    };
    struct Edge {
        Mask mask;
        State to = DEAD;
    };
    struct Set {
        uint32_t first, count;   // in members
        bool may_end, has_token; // whether the empty stack is in it; a stack with a token on top
        int32_t table;           // in tables: the state after each character of ASCII; -1: not needed so far
        std::vector<Edge> edges; // what other characters have led to
    };
    // A place in the bytes of an answer: a state, and the beginning of a character that is not complete.
    struct Point {
        State state = DEAD;
        uint32_t value = 0, least = 0; // the bits so far; the smallest character that may be written with so many bytes
        int missing = 0;               // bytes
    };

    void spend(int64_t steps);
    [[noreturn]] static void fail_readings();
    Stack push(uint32_t place, Stack below);
    Stack after(Stack s); // without its top place, or with the one that follows it in its rule
    void add(Stack s);    // to those that make_state() takes
    State make_state();   // of all added stacks, each expanded down to its characters and tokens
    State intern();       // the state of `found`
    State next(State s, uint32_t c);
    State follow(State s, const Mask & m);
    bool matches_partial(const Point & p);
    Point step(Point p, uint8_t byte);
    Point walk(llama_token token);
    bool matches_token(const ll_grammar_element & e, llama_token token) const;
    bool matches_by_id(State s, llama_token token);
    void admit_by_id(std::vector<uint8_t> & out);
    void compact();

    const std::shared_ptr<const TokenBytes> tokens;
    const GrammarRules rules;
    int64_t budget = GRAMMAR_BURST;
    Point current;
    bool crowded = false; // whether a state with too many readings was met since begin_token()

    std::vector<Node> nodes;
    std::unordered_map<uint64_t, Stack> node_of;
    std::vector<Set> sets;
    std::unordered_multimap<uint64_t, State> set_of; // hash of the members
    std::vector<Stack> members;
    std::vector<std::array<State, 128>> tables;

    // Used by one call at a time; here so that they are not allocated again.
    std::vector<Stack> added, found;
    std::vector<uint32_t> seen; // (nodes) the round in which a node was added
    uint32_t round = 0;
    std::vector<Point> points;
};

} // namespace lorikeet
