// Package llamatest is what the tests of runtime/llama need beside it: llama.cpp's own results to compare with, parts of
// the product on their own, and control of the memory that C++ allocates. Only tests import it, so that the shipped
// program has none of its C++.
package llamatest
