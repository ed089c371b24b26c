package tokenizer

import (
	"slices"
	"strconv"
	"strings"
)

// pieceTable has the bytes of every token, one behind the other.
type pieceTable struct {
	bytes   []byte
	ends    []uint32 // of each token; it begins where the one before it ends
	hidden  []bool   // of each token: it has bytes only where special tokens are asked for
	longest int      // in bytes, at least 1
}

func newPieceTable(model string, v *vocabulary) pieceTable {
	t := pieceTable{ends: make([]uint32, len(v.texts)), hidden: make([]bool, len(v.texts)), longest: 1}
	for i, text := range v.texts {
		piece := ""
		switch k := v.kinds[i]; k {
		case control, unknown:
			piece, t.hidden[i] = text, true
		case userDefined:
			piece = text
		case normal:
			piece = plainPiece(model, text)
		case byteToken:
			if model != "gpt2" {
				piece = bytePiece(text)
			}
		}
		t.bytes = append(t.bytes, piece...)
		t.longest = max(t.longest, len(piece))
		t.ends[i] = uint32(len(t.bytes))
	}
	t.bytes = slices.Clip(t.bytes)
	return t
}

// plainPiece is what a normal token stands for.
func plainPiece(model, text string) string {
	if model != "gpt2" {
		return strings.ReplaceAll(text, spaceMark, " ")
	}
	if bytes, ok := decodeLetters(text); ok {
		return string(bytes)
	}
	return text
}

// bytePiece is the byte that "<0x0A>" stands for.
func bytePiece(text string) string {
	if b, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(text, "<0x"), ">"), 16, 8); err == nil {
		return string([]byte{byte(b)})
	}
	return ""
}

func (t *pieceTable) len() int { return len(t.ends) }

// Piece returns the bytes of a token, which need not be UTF-8 on their own: a text's pieces joined are the text, but
// for what the tokenizer itself changes (NFC, a space put in front). Control and unknown tokens have bytes only where
// special is true; unused tokens and those out of range have none. The caller must not change the bytes.
func (t *Tokenizer) Piece(token Token, special bool) []byte {
	p := &t.pieces
	if token < 0 || int(token) >= len(p.ends) || p.hidden[token] && !special {
		return nil
	}
	start := uint32(0)
	if token > 0 {
		start = p.ends[token-1]
	}
	end := p.ends[token]
	return p.bytes[start:end:end]
}
