package huggingface

import (
	"encoding/json"
	"strings"
)

// tokenizerJSON is tokenizer.json, the file of the tokenizers library.
type tokenizerJSON struct {
	AddedTokens   []addedToken   `json:"added_tokens"`
	Normalizer    *component     `json:"normalizer"`
	PreTokenizer  *component     `json:"pre_tokenizer"`
	PostProcessor *component     `json:"post_processor"`
	Decoder       *component     `json:"decoder"`
	Model         tokenizerModel `json:"model"`
}

type addedToken struct {
	ID         int64  `json:"id"`
	Content    string `json:"content"`
	Special    bool   `json:"special"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	SingleWord bool   `json:"single_word"`
	Normalized bool   `json:"normalized"`
}

func (a addedToken) matching() matching {
	return matching{a.LStrip, a.RStrip, a.SingleWord, a.Normalized}
}

type tokenizerModel struct {
	Type         string             `json:"type"`
	Vocab        json.RawMessage    `json:"vocab"`
	Merges       json.RawMessage    `json:"merges"`
	Unknown      string             `json:"unk_token"`
	Prefix       string             `json:"continuing_subword_prefix"`
	Suffix       string             `json:"end_of_word_suffix"`
	ByteFallback bool               `json:"byte_fallback"`
	IgnoreMerges bool               `json:"ignore_merges"`
	UnknownID    *int64             `json:"unk_id"` // of Unigram
	ids          map[string]int64   // vocab
	scores       map[string]float64 // of Unigram
	pairs        [][2]string        // merges
}

// component is a normalizer, pre-tokenizer, post-processor or decoder, or a sequence of them.
type component struct {
	Type           string           `json:"type"`
	Normalizers    []*component     `json:"normalizers"`
	PreTokenizers  []*component     `json:"pretokenizers"`
	Processors     []*component     `json:"processors"`
	Decoders       []*component     `json:"decoders"`
	Pattern        pattern          `json:"pattern"`
	Behavior       string           `json:"behavior"`
	Invert         bool             `json:"invert"`
	UseRegex       *bool            `json:"use_regex"`
	AddPrefixSpace *bool            `json:"add_prefix_space"`
	Individual     bool             `json:"individual_digits"`
	PrependScheme  string           `json:"prepend_scheme"`
	Split          *bool            `json:"split"`
	Prepend        string           `json:"prepend"`
	Content        string           `json:"content"`
	Replacement    string           `json:"replacement"`
	Charsmap       []byte           `json:"precompiled_charsmap"`
	StripLeft      bool             `json:"strip_left"`
	StripRight     bool             `json:"strip_right"`
	Single         []templateMember `json:"single"`
}

// pattern is what a Split looks for or a Replace replaces.
type pattern struct {
	Regex  string `json:"Regex"`
	String string `json:"String"`
}

// templateMember is a part of a TemplateProcessing: the text, or a special token.
type templateMember struct {
	SpecialToken *struct {
		ID string `json:"id"`
	} `json:"SpecialToken"`
	Sequence *struct{} `json:"Sequence"`
}

// parts returns the component's own parts, in order, sequences taken apart. A nil component has none.
func (c *component) parts() []*component {
	if c == nil {
		return nil
	}
	if c.Type != "Sequence" {
		return []*component{c}
	}
	var out []*component
	for _, list := range [][]*component{c.Normalizers, c.PreTokenizers, c.Processors, c.Decoders} {
		for _, x := range list {
			out = append(out, x.parts()...)
		}
	}
	return out
}

// find returns the first part of a type, or nil.
func (c *component) find(kind string) *component {
	for _, p := range c.parts() {
		if p.Type == kind {
			return p
		}
	}
	return nil
}

func parseTokenizer(data []byte) (*tokenizerJSON, error) {
	t := &tokenizerJSON{}
	if err := json.Unmarshal(data, t); err != nil {
		return nil, formatError(tokenizerFile, "%w", err)
	}
	m := &t.Model
	if m.Type == "" && len(m.Merges) > 0 {
		m.Type = "BPE" // written by old versions
	}
	switch {
	case m.Type == "Unigram":
		return t, m.readUnigram()
	case m.Type != "BPE":
		return nil, unsupported(tokenizerFile, "model type %q is neither BPE nor Unigram", m.Type)
	case m.Prefix != "" || m.Suffix != "":
		return nil, unsupported(tokenizerFile, "continuing_subword_prefix %q and end_of_word_suffix %q are not supported", m.Prefix, m.Suffix)
	}
	if err := json.Unmarshal(m.Vocab, &m.ids); err != nil {
		return nil, formatError(tokenizerFile, "vocab: %w", err)
	}
	return t, m.readMerges()
}

// readMerges reads the pairs, which are "a b" or, in newer files, ["a", "b"].
func (m *tokenizerModel) readMerges() error {
	var joined []string
	if len(m.Merges) == 0 {
		return formatError(tokenizerFile, "merges are missing")
	}
	if json.Unmarshal(m.Merges, &joined) == nil {
		for i, pair := range joined {
			left, right, ok := strings.Cut(pair, " ")
			if !ok || left == "" || right == "" || strings.Contains(right, " ") {
				return formatError(tokenizerFile, "merge %d, %q, is no pair", i, clip([]byte(pair)))
			}
			m.pairs = append(m.pairs, [2]string{left, right})
		}
		return nil
	}
	var lists [][]string
	if err := json.Unmarshal(m.Merges, &lists); err != nil {
		return formatError(tokenizerFile, "merges: %w", err)
	}
	for i, pair := range lists {
		if len(pair) != 2 || pair[0] == "" || pair[1] == "" || strings.Contains(pair[0]+pair[1], " ") {
			return formatError(tokenizerFile, "merge %d, %q, is no pair", i, pair)
		}
		m.pairs = append(m.pairs, [2]string{pair[0], pair[1]})
	}
	return nil
}

// byteLevel reports whether the tokens are written in GPT-2's alphabet of bytes.
func (t *tokenizerJSON) byteLevel() bool {
	return t.PreTokenizer.find("ByteLevel") != nil || t.Decoder.find("ByteLevel") != nil && t.Decoder.find("ByteFallback") == nil
}

// entries lists the vocabulary and the added tokens, kind saying what a token of the vocabulary is.
func (t *tokenizerJSON) entries(kind func(text string) int32) []entry {
	out := make([]entry, 0, len(t.Model.ids)+len(t.AddedTokens))
	for text, id := range t.Model.ids {
		out = append(out, entry{id: id, token: token{text: text, kind: kind(text)}})
	}
	for _, a := range t.AddedTokens {
		k := int32(userToken)
		switch {
		case a.Content == t.Model.Unknown && a.Content != "":
			k = kind(a.Content)
		case a.Special:
			k = controlToken
		}
		out = append(out, entry{id: a.ID, token: token{text: a.Content, kind: k, match: a.matching()}, added: true})
	}
	return out
}

// addTokens adds the tokens that only the files beside tokenizer.json have, as transformers does when it loads the
// folder: one that is in the vocabulary keeps its id, another gets the next id behind the vocabulary and the tokens added
// so far, whatever id the files give it. A file that gives it another one contradicts itself and is refused.
func (t *tokenizerJSON) addTokens(s *special) error {
	added := make(map[string]bool, len(t.AddedTokens))
	next := int64(len(t.Model.ids))
	for _, a := range t.AddedTokens {
		added[a.Content] = true
		next = max(next, a.ID+1)
	}
	for _, e := range s.more() {
		if added[e.token.text] || e.token.text == "" {
			continue
		}
		id, inVocabulary := t.Model.ids[e.token.text]
		if !inVocabulary {
			id = next
			next++
		}
		if e.id >= 0 && e.id != id {
			return formatError(tokenizerConfigFile, "added_tokens_decoder: token %q has the id %d; with what %s has, its id is %d", e.token.text, e.id, tokenizerFile, id)
		}
		m := e.token.match
		t.AddedTokens = append(t.AddedTokens, addedToken{
			ID: id, Content: e.token.text, Special: e.token.kind == controlToken,
			LStrip: m.lstrip, RStrip: m.rstrip, SingleWord: m.singleWord, Normalized: m.normalized,
		})
		added[e.token.text] = true
	}
	return nil
}

// byteLevelVocabulary is the vocabulary of a byte-level BPE.
func (t *tokenizerJSON) byteLevelVocabulary(pre string, vocabSize int64) (*vocabulary, error) {
	for _, n := range t.Normalizer.parts() {
		if n.Type != "NFC" {
			return nil, unsupported(tokenizerFile, "normalizer %q is not supported", n.Type)
		}
	}
	if t.Model.ByteFallback {
		return nil, unsupported(tokenizerFile, "byte_fallback beside a byte-level pre-tokenizer")
	}
	known, err := t.preTokenizer()
	if pre == "" && err != nil {
		return nil, err
	}
	v, err := newVocabulary(tokenizerFile, t.entries(func(string) int32 { return normalToken }), vocabSize)
	if err != nil {
		return nil, err
	}
	v.model, v.pre = "gpt2", known
	if pre != "" {
		v.pre = pre
	}
	v.merges = make([]string, len(t.Model.pairs))
	for i, p := range t.Model.pairs {
		v.merges[i] = p[0] + " " + p[1]
	}
	v.normalizer, v.ignoreMerges = "none", t.Model.IgnoreMerges
	if t.Normalizer.find("NFC") != nil {
		v.normalizer = "nfc"
	}
	return v, nil
}
