// Package grammar makes the grammars that answers are held to: GBNF, llama.cpp's notation, from JSON schemas.
//
// Every text of a schema's grammar is valid under the schema; not every valid text is one of the grammar: properties
// come in the schema's order, and none that it does not name. A keyword that would bind the answer and cannot be
// expressed is refused by its path, never ignored.
package grammar
