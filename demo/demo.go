// Package demo holds the base model that is served where the user names none: a small llama made for this
// project, quantized to NF4. README.md says how it was made and what it can do.
package demo

import _ "embed"

//go:generate go run ./generate

// Name is what the embedded model is called in requests.
const Name = "lorikeet-demo"

//go:embed demo-base.nf4.gguf
var base []byte

// Base returns the GGUF file of the embedded model. The bytes must not be changed.
func Base() []byte { return base }
