// Package tokenizer turns texts into tokens and tokens into bytes, from the metadata of a GGUF file, in pure Go.
//
// It gives the tokens that the original library gives: Hugging Face's tokenizers for byte-level BPE,
// SentencePiece for its own BPE. Where llama.cpp differs from the original (combining marks and upper case
// beyond ASCII, NFC, which of two added tokens wins), the original is right. The tests compare with tokenizers itself.
//
// The time is linear in the text, or linear times its logarithm inside one word, whatever the text is and however
// many added tokens there are; nothing recurses over a text. A text passes these steps:
//
//	added tokens   found in the raw text, leftmost and longest first (added.go)
//	normalizer     NFC, or SentencePiece's space marks (nfc.go, spm.go)
//	pre-tokenizer  of byte-level BPE: cuts the text into words (family.go, split.go, words.go)
//	model          BPE merges, by rank or by score (bpe.go, spm.go, merge.go, queue.go)
//
// A text should be UTF-8. Bytes that are not are kept: each counts as one character of the class of U+FFFD and
// becomes the token of its byte where the model has byte tokens, the unknown token where it has none.
package tokenizer
