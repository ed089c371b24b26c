// Package automaton has finite automata over characters or bytes: regular expressions, number ranges and formats become
// one, and automata are intersected, subtracted and encoded as the bytes of JSON strings. Everything here is bounded by
// MaxStates; what would be larger is ErrTooLarge.
package automaton

import "errors"

// MaxStates is how many states an automaton may have.
const MaxStates = 1 << 17

// ErrTooLarge says that an automaton would have more than MaxStates states.
var ErrTooLarge = errors.New("needs too large an automaton")
