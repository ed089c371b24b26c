package server

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// minLogprob replaces minus infinity, the logarithm of zero, which JSON cannot represent.
const minLogprob = -9999

func logprob(p float32) float32 { return max(p, minLogprob) }

// chatLogprobs returns log-probabilities in the format of chat completions.
func (s *Server) chatLogprobs(tokens []runtime.TokenText) *openapi.ChatLogprobs {
	l := &openapi.ChatLogprobs{Content: make([]openapi.TokenLogprob, len(tokens))}
	for i, t := range tokens {
		top := make([]openapi.TopLogprob, len(t.Top))
		for j, alternative := range t.Top {
			piece := s.model.Piece(alternative.Token, true)
			top[j] = openapi.TopLogprob{Token: valid(piece), Logprob: logprob(alternative.Logprob), Bytes: ints(piece)}
		}
		l.Content[i] = openapi.TokenLogprob{
			Token: valid(t.Bytes), Logprob: logprob(t.Logprob), Bytes: ints(t.Bytes), TopLogprobs: top,
		}
	}
	return l
}

// textLogprobs puts tokens in the shape of completions. offset is where the first of them begins in the text,
// in characters; top is how many alternatives were asked for. A token that begins inside a character is where that
// character is.
func (s *Server) textLogprobs(tokens []runtime.TokenText, offset, top int) *openapi.CompletionLogprobs {
	l := &openapi.CompletionLogprobs{
		Tokens: make([]string, len(tokens)), TokenLogprobs: make([]float32, len(tokens)), TextOffset: make([]int, len(tokens)),
	}
	if top > 0 {
		l.TopLogprobs = make([]map[string]float32, len(tokens))
	}
	var open []byte // what there is of a character that is not whole yet
	for i, t := range tokens {
		l.Tokens[i], l.TokenLogprobs[i], l.TextOffset[i] = pieceName(t.Bytes), logprob(t.Logprob), offset
		for open = append(open, t.Bytes...); utf8.FullRune(open); offset++ {
			_, n := utf8.DecodeRune(open)
			open = open[n:]
		}
		if top > 0 {
			l.TopLogprobs[i] = make(map[string]float32, len(t.Top))
			for _, alternative := range t.Top {
				l.TopLogprobs[i][pieceName(s.model.Piece(alternative.Token, true))] = logprob(alternative.Logprob)
			}
		}
	}
	return l
}

// pieceName is the name of a token in completions: bytes that are not valid UTF-8 by themselves are written as escapes.
func pieceName(piece []byte) string {
	if utf8.Valid(piece) {
		return string(piece)
	}
	var b strings.Builder
	b.WriteString("bytes:")
	for _, c := range piece {
		fmt.Fprintf(&b, `\x%02x`, c)
	}
	return b.String()
}

func ints(b []byte) []int {
	list := make([]int, len(b))
	for i, c := range b {
		list[i] = int(c)
	}
	return list
}
