// llama.cpp's own grammars, for tests.
#pragma once
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct stock_grammar stock_grammar;

// n tokens with their bytes, which must not have zeros in them; ends are those that end an answer. NULL: the grammar is
// refused. All arrays are copied.
stock_grammar * stock_grammar_new(const char * text, const char * const * pieces, int32_t n, const int32_t * ends, int32_t n_ends);
int stock_grammar_admits(stock_grammar * g, int32_t token);
void stock_grammar_accept(stock_grammar * g, int32_t token); // one that it admits
void stock_grammar_free(stock_grammar * g);

#ifdef __cplusplus
}
#endif
