// Package grammar makes and checks the grammars that answers are held to, in GBNF, llama.cpp's notation.
//
// Parse reads a grammar, Compile turns it into flat rules that a matcher follows, and both refuse what would cost too
// much. FromSchema makes a grammar from a JSON schema. Every text of a schema's grammar is valid under the schema; not
// every valid text is one of the grammar: properties come in the schema's order, and none that it does not name. A
// keyword that would bind the answer and cannot be expressed is refused by its path, never ignored.
package grammar
