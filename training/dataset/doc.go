// Package dataset turns a file of training data into examples: it reads the line formats that people have, renders
// and tokenizes conversations with the template that serves, marks the tokens to learn, and says which examples
// every step of a run learns from. It keeps no state on disk and knows nothing of jobs.
//
// The words used here:
//
//   - line: one element of a file: a line of JSON Lines, or an element of a JSON array.
//   - conversation: what a line says: messages to render, or a text as it is.
//   - example: one sequence of tokens and what each must predict. A line gives one example, or more where the
//     chat template does not render a conversation as the beginning of its continuation.
//   - unit: what is shuffled: an example, or with packing as many examples as fit into max_length.
//   - micro-batch: examples that are computed together, as block-diagonal sequences of one row.
package dataset
