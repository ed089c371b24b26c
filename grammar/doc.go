// Package grammar holds answers to what a request asks them to be.
//
// A Constraint is made of Parts: literals, free text up to a marker, and JSON values that are valid under a JSON schema.
// A Matcher follows it through one answer and tells, as a mask, which tokens of a model's vocabulary (Tokens) may come
// next. It works on bytes, so that tokens may begin and end anywhere, within a character too.
//
// Every value that a schema's part admits is valid under the schema, and from every place in it there is a way to its
// end; not every valid text is one of it: properties come in the schema's order, those without a name after them and only
// where the schema says something about them, white space is bounded, and numbers are written with at most 30 digits. A
// keyword that binds the answer and cannot be held to is refused by its path, never ignored.
//
// Parse and Compile are for GBNF, llama.cpp's notation: Parse reads a grammar, Compile turns it into flat rules that
// the matcher of package llama follows, and both refuse what would cost too much.
package grammar
