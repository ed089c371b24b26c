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
		Tokens: make([]string, len(tokens)), TokenLogprobs: make([]*float32, len(tokens)), TextOffset: make([]int, len(tokens)),
	}
	if top > 0 {
		l.TopLogprobs = make([]map[string]float32, len(tokens))
	}
	var open []byte // what there is of a character that is not whole yet
	for i, t := range tokens {
		p := logprob(t.Logprob)
		l.Tokens[i], l.TokenLogprobs[i], l.TextOffset[i] = s.tokenName(t), &p, offset
		for open = append(open, t.Bytes...); utf8.FullRune(open); offset++ {
			_, n := utf8.DecodeRune(open)
			open = open[n:]
		}
		if top > 0 {
			l.TopLogprobs[i] = make(map[string]float32, len(t.Top))
			for _, alternative := range t.Top {
				name := pieceName(s.model.Piece(alternative.Token, true))
				if _, likelier := l.TopLogprobs[i][name]; !likelier { // two tokens may have the same text
					l.TopLogprobs[i][name] = logprob(alternative.Logprob)
				}
			}
		}
	}
	return l
}

// promptLogprobs is textLogprobs of a prompt's tokens. scores are those from the second on: the first has none.
func (s *Server) promptLogprobs(p prompt, scores []runtime.TokenText, top int) *openapi.CompletionLogprobs {
	tokens := append([]runtime.TokenText{{Token: p.tokens[0], Bytes: s.model.Piece(p.tokens[0], true)}}, scores...)
	l := s.textLogprobs(tokens, 0, top)
	l.TokenLogprobs[0] = nil
	if top > 0 {
		l.TopLogprobs[0] = nil
	}
	l.TextOffset = tokenOffsets(p.text, tokens)
	return l
}

// tokenOffsets returns where the tokens of a text begin in it, in characters. A token that the tokenizer has put there,
// as it does with BOS and with SentencePiece's first space, takes nothing of the text.
func tokenOffsets(text string, tokens []runtime.TokenText) []int {
	offsets := make([]int, len(tokens))
	at, characters, counted := 0, 0, 0 // counted: the bytes of the characters that are whole before at
	for i, t := range tokens {
		for counted < at {
			_, n := utf8.DecodeRuneInString(text[counted:])
			if counted+n > at {
				break
			}
			counted += n
			characters++
		}
		offsets[i] = characters
		piece, rest := string(t.Bytes), text[at:]
		switch {
		case strings.HasPrefix(rest, piece):
			at += len(piece)
		case i == 0 && !strings.HasPrefix(piece, " "):
		case strings.HasPrefix(piece, " ") && strings.HasPrefix(rest, piece[1:]):
			at += len(piece) - 1
		default: // the tokenizer has normalized the text
			at += min(len(piece), len(rest))
		}
	}
	return offsets
}

// tokenName is the name of a token in completions. One without bytes, such as the one that ends an answer, has the name of
// the control token that it is.
func (s *Server) tokenName(t runtime.TokenText) string {
	if len(t.Bytes) == 0 {
		return pieceName(s.model.Piece(t.Token, true))
	}
	return pieceName(t.Bytes)
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
