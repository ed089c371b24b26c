// Package tokenizer turns texts into tokens and tokens into bytes, from the metadata of a GGUF file, in pure Go.
//
// It gives the tokens that the original library gives: Hugging Face's tokenizers for byte-level BPE and for unigram models
// imported from its tokenizer.json, SentencePiece for its own BPE and for other unigram models. Where llama.cpp differs
// from the original (combining marks and upper case beyond ASCII, NFC, which of two added tokens wins, a unigram model's
// bytes), the original is right. The tests compare with tokenizers and SentencePiece themselves.
//
// The time is linear in the text, or linear times its logarithm inside one word, whatever the text is and however
// many added tokens there are; nothing recurses over a text. A text passes these steps:
//
//	added tokens   found in the raw text, leftmost and longest first (added.go)
//	normalizer     NFC, or SentencePiece's charsmap and space marks (nfc.go, charsmap.go, spm.go, unigram_text.go)
//	pre-tokenizer  of byte-level BPE: cuts the text into words (family.go, split.go, words.go); of some unigram models, too
//	model          BPE merges, by rank or by score (bpe.go, spm.go, merge.go, queue.go), or the tokens with the greatest
//	               sum of scores (unigram.go, trie.go)
//
// A text should be UTF-8. Bytes that are not are kept: each counts as one character of the class of U+FFFD and
// becomes the token of its byte where the model has byte tokens, the unknown token where it has none.
// A unigram model, as SentencePiece has it, reads U+FFFD in place of each.
package tokenizer
