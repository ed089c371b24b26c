package huggingface

import (
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/ollama/ollama/convert/sentencepiece"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// maxPieces bounds the vocabulary of a tokenizer.model; the largest published has 262,144.
const maxPieces = 1 << 20

// space is what SentencePiece writes for a space.
const space = "▁"

// parsePieces reads tokenizer.model, a protocol buffer. Its pieces are counted first: a message of two bytes would
// become a structure of a hundred.
func parsePieces(data []byte) (*sentencepiece.ModelProto, error) {
	const pieces = 1 // ModelProto's field number
	count := 0
	for rest := data; len(rest) > 0; {
		number, _, n := protowire.ConsumeField(rest)
		if n < 0 {
			return nil, formatError(sentencePieceFile, "it is no SentencePiece model: %w", protowire.ParseError(n))
		}
		if number == pieces {
			count++
		}
		rest = rest[n:]
	}
	if count == 0 || count > maxPieces {
		return nil, formatError(sentencePieceFile, "it has %d pieces, not between 1 and %d", count, maxPieces)
	}
	m := &sentencepiece.ModelProto{}
	if err := proto.Unmarshal(data, m); err != nil {
		return nil, formatError(sentencePieceFile, "it is no SentencePiece model: %w", err)
	}
	for i, p := range m.GetPieces() {
		if s := float64(p.GetScore()); math.IsNaN(s) || math.IsInf(s, 0) {
			return nil, formatError(sentencePieceFile, "piece %d, %q, has the score %g", i, clip([]byte(p.GetPiece())), s)
		}
	}
	return m, nil
}

// pieceVocabulary is the vocabulary of tokenizer.model and the tokens that other files add to it.
func pieceVocabulary(data []byte, s *special, vocabSize int64) (*vocabulary, error) {
	m, err := parsePieces(data)
	if err != nil {
		return nil, err
	}
	model := m.GetTrainerSpec().GetModelType()
	if model != sentencepiece.TrainerSpec_BPE && model != sentencepiece.TrainerSpec_UNIGRAM {
		return nil, unsupported(sentencePieceFile, "model type %s is neither BPE nor UNIGRAM", model)
	}
	entries := make([]entry, 0, len(m.GetPieces())+len(s.added))
	for i, p := range m.GetPieces() {
		kind := int32(p.GetType())
		if kind < normalToken || kind > byteToken {
			return nil, formatError(sentencePieceFile, "piece %d, %q, has the type %d", i, clip([]byte(p.GetPiece())), kind)
		}
		entries = append(entries, entry{id: int64(i), token: token{text: p.GetPiece(), kind: kind, score: p.GetScore()}})
	}
	known := make(map[string]int64, len(entries))
	for _, e := range entries {
		known[e.token.text] = e.id
	}
	for _, e := range s.added {
		if id, ok := known[e.token.text]; ok && id == e.id && entries[id].token.kind != normalToken {
			continue // the model has said what it is
		}
		e.token.score = -1000
		entries = append(entries, e)
	}
	v, err := newVocabulary(sentencePieceFile, entries, vocabSize)
	if err != nil {
		return nil, err
	}
	if model == sentencepiece.TrainerSpec_UNIGRAM {
		return v, v.setUnigram(m, s)
	}
	v.model = "llama"
	n := m.GetNormalizerSpec()
	switch {
	case !n.GetAddDummyPrefix() || s.addPrefixSpace != nil && !*s.addPrefixSpace:
		v.spacePrefix = prefixNever
	case s.legacy != nil && !*s.legacy:
		v.spacePrefix = prefixFirst // as transformers reads such a file since it knows the flag
	default:
		v.spacePrefix = prefixSegment
	}
	if len(n.GetPrecompiledCharsmap()) > 0 {
		v.note("%s: normalizer %q: llama.cpp takes texts as they come", sentencePieceFile, n.GetName())
	}
	return v, v.hasBytes(sentencePieceFile)
}

// byteText is the text of the token of a byte.
func byteText(b int) string { return fmt.Sprintf("<0x%02X>", b) }

// hasBytes checks that every text can be tokenized, which llama.cpp takes for granted.
func (v *vocabulary) hasBytes(file string) error {
	for b := range 256 {
		if !v.has(byteText(b)) {
			return unsupported(file, "it has no token %s: llama.cpp's SentencePiece tokenizer needs one for every byte", byteText(b))
		}
	}
	return nil
}

// sentencePieceVocabulary is the vocabulary of a tokenizer.json that was made from a SentencePiece model. pieces is
// the tokenizer.model beside it, whose scores are taken if it has the same tokens; without it they are the order of
// the merges.
func (t *tokenizerJSON) sentencePieceVocabulary(pieces []byte, vocabSize int64) (*vocabulary, error) {
	if !t.Model.ByteFallback {
		return nil, unsupported(tokenizerFile, "a BPE that is neither byte-level nor falls back to bytes")
	}
	prefix, err := t.spacePrefix()
	if err != nil {
		return nil, err
	}
	bytes := make(map[string]bool, 256)
	for b := range 256 {
		bytes[byteText(b)] = true
	}
	entries := t.entries(func(text string) int32 {
		switch {
		case bytes[text]:
			return byteToken
		case text == t.Model.Unknown:
			return unknownToken
		}
		return normalToken
	})
	scores := t.pieceScores(pieces)
	if scores == nil {
		if scores, err = t.mergeScores(bytes); err != nil {
			return nil, err
		}
	}
	for i := range entries {
		entries[i].token.score = scores[entries[i].token.text]
	}
	v, err := newVocabulary(tokenizerFile, entries, vocabSize)
	if err != nil {
		return nil, err
	}
	v.model, v.spacePrefix = "llama", prefix
	return v, v.hasBytes(tokenizerFile)
}

// spacePrefix checks that spaces are written as SentencePiece does, and returns where a text gets one in front.
func (t *tokenizerJSON) spacePrefix() (prefix string, err error) {
	replaced := false
	prefix = prefixNever
	for _, n := range t.Normalizer.parts() {
		switch {
		case n.Type == "Prepend" && n.Prepend == space:
			prefix = prefixSegment
		case n.Type == "Replace" && n.Pattern.String == " " && n.Content == space:
			replaced = true
		default:
			return "", unsupported(tokenizerFile, "normalizer %q is not supported", n.Type)
		}
	}
	for _, p := range t.PreTokenizer.parts() {
		if p.Type != "Metaspace" || p.Split == nil || *p.Split {
			return "", unsupported(tokenizerFile, "pre_tokenizer %q is not supported beside byte_fallback", p.Type)
		}
		replaced = true
		switch {
		case prefix != prefixNever:
			return "", unsupported(tokenizerFile, "both normalizer and pre_tokenizer put a space before a text")
		case p.PrependScheme == "first":
			prefix = prefixFirst
		case p.PrependScheme == "always", p.PrependScheme == "" && (p.AddPrefixSpace == nil || *p.AddPrefixSpace):
			prefix = prefixAlways
		}
	}
	if !replaced {
		return "", unsupported(tokenizerFile, "spaces are not written as %q", space)
	}
	return prefix, nil
}

// pieceScores returns the scores of tokenizer.model, or nil if it is not there or has other tokens.
func (t *tokenizerJSON) pieceScores(data []byte) map[string]float32 {
	if len(data) == 0 {
		return nil
	}
	m, err := parsePieces(data)
	if err != nil || m.GetTrainerSpec().GetModelType() != sentencepiece.TrainerSpec_BPE {
		return nil
	}
	scores := make(map[string]float32, len(m.GetPieces()))
	for i, p := range m.GetPieces() {
		if id, ok := t.Model.ids[p.GetPiece()]; !ok || id != int64(i) {
			return nil
		}
		scores[p.GetPiece()] = p.GetScore()
	}
	return scores
}

// mergeScores makes scores from the order of the merges. llama.cpp merges the pair whose result has the highest
// score; that is what the file does if every pair which makes a token is listed, and all pairs that make the same
// token stand together, as in files that were made from scores. Others are refused.
func (t *tokenizerJSON) mergeScores(bytes map[string]bool) (map[string]float32, error) {
	type span struct{ first, last, count int }
	spans := make(map[string]span, len(t.Model.pairs))
	listed := make(map[[2]string]bool, len(t.Model.pairs))
	for i, p := range t.Model.pairs {
		s, ok := spans[p[0]+p[1]]
		if !ok {
			s.first = i
		}
		if !listed[p] {
			s.count++
		}
		s.last, listed[p] = i, true
		spans[p[0]+p[1]] = s
	}
	added := make(map[string]bool, len(t.AddedTokens))
	for _, a := range t.AddedTokens {
		added[a.Content] = true
	}
	scores := make(map[string]float32, len(t.Model.ids))
	for text := range t.Model.ids {
		s, merged := spans[text]
		if merged {
			scores[text] = -float32(s.first)
		}
		if added[text] || bytes[text] {
			continue
		}
		if merged && s.last-s.first+1 != s.count {
			return nil, unsupported(tokenizerFile, "the merges of token %q do not stand together: they do not follow from scores, which llama.cpp's SentencePiece tokenizer needs", text)
		}
		for at := range text {
			left, right := text[:at], text[at:]
			if at == 0 || !utf8.ValidString(left) || added[left] || added[right] {
				continue
			}
			_, l := t.Model.ids[left]
			_, r := t.Model.ids[right]
			if l && r && !listed[[2]string{left, right}] {
				return nil, unsupported(tokenizerFile, "no merge makes token %q of %q and %q, as scores would, which llama.cpp's SentencePiece tokenizer needs", text, left, right)
			}
		}
	}
	return scores, nil
}
