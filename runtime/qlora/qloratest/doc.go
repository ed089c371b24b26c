// Package qloratest is what tests and benchmarks need beside runtime/qlora: base models of random numbers, the scalar
// reference of every fast kernel, ggml's and llama.cpp's own results to compare with, and a look inside a Trainer.
// Only tests and bench import it, so that the shipped program has none of its C++.
package qloratest
