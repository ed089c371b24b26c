package huggingface

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// special is what the files beside the tokenizer say of special tokens.
type special struct {
	class          string            // tokenizer_class
	texts          map[string]string // "bos", "eos", "unknown", "padding"; "" for a token that there is none of
	configured     bool              // tokenizer_config.json or special_tokens_map.json is there
	others         []tokenText       // further special tokens, in the order in which transformers adds them
	addBOS         *bool
	addEOS         *bool
	legacy         *bool
	addPrefixSpace *bool
	added          []entry // of added_tokens_decoder or added_tokens.json, by their ids
	template       json.RawMessage
}

// defaults are the special tokens that the classes of transformers have where the files name none. A file that gives
// null has none.
var defaults = map[string]map[string]string{
	"LlamaTokenizer":     {"bos": "<s>", "eos": "</s>", "unknown": "<unk>"},
	"CodeLlamaTokenizer": {"bos": "<s>", "eos": "</s>", "unknown": "<unk>"},
	"GPT2Tokenizer":      {"bos": "<|endoftext|>", "eos": "<|endoftext|>", "unknown": "<|endoftext|>"},
	"Qwen2Tokenizer":     {"eos": "<|endoftext|>", "padding": "<|endoftext|>"},
}

// specialFields are the fields of the files by our names.
var specialFields = map[string]string{"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}

// tokenText is a token as a string, or as an object that has it in content, or null.
type tokenText string

func (t *tokenText) UnmarshalJSON(data []byte) error {
	var object struct {
		Content string `json:"content"`
	}
	if json.Unmarshal(data, (*string)(t)) == nil {
		return nil
	}
	err := json.Unmarshal(data, &object)
	*t = tokenText(object.Content)
	return err
}

// readSpecial reads tokenizer_config.json, special_tokens_map.json and added_tokens.json, each if it is there.
func readSpecial(f *folder) (*special, error) {
	s := &special{texts: map[string]string{}}
	var tokens struct {
		BOS            tokenText       `json:"bos_token"`
		EOS            tokenText       `json:"eos_token"`
		Unknown        tokenText       `json:"unk_token"`
		Padding        tokenText       `json:"pad_token"`
		Separator      tokenText       `json:"sep_token"`
		ClassToken     tokenText       `json:"cls_token"`
		Mask           tokenText       `json:"mask_token"`
		More           []tokenText     `json:"additional_special_tokens"`
		Class          string          `json:"tokenizer_class"`
		AddBOS         *bool           `json:"add_bos_token"`
		AddEOS         *bool           `json:"add_eos_token"`
		Legacy         *bool           `json:"legacy"`
		AddPrefixSpace *bool           `json:"add_prefix_space"`
		Template       json.RawMessage `json:"chat_template"`
		Decoder        map[string]struct {
			Content    string `json:"content"`
			Special    bool   `json:"special"`
			LStrip     bool   `json:"lstrip"`
			RStrip     bool   `json:"rstrip"`
			SingleWord bool   `json:"single_word"`
			Normalized bool   `json:"normalized"`
		} `json:"added_tokens_decoder"`
	}
	given := map[string]json.RawMessage{}
	for _, name := range []string{specialTokensFile, tokenizerConfigFile} { // the second wins
		data, found, err := f.read(name, maxTokenizer)
		if err != nil {
			return nil, err
		}
		if !found {
			continue
		}
		if err := json.Unmarshal(data, &tokens); err != nil {
			return nil, formatError(name, "%w", err)
		}
		if err := json.Unmarshal(data, &given); err != nil {
			return nil, formatError(name, "%w", err)
		}
		s.configured = true
	}
	for name, text := range map[string]tokenText{"bos": tokens.BOS, "eos": tokens.EOS, "unknown": tokens.Unknown, "padding": tokens.Padding} {
		s.texts[name] = string(text)
		if _, ok := given[specialFields[name]]; !ok {
			s.texts[name] = defaults[strings.TrimSuffix(tokens.Class, "Fast")][name]
		}
	}
	s.others = append([]tokenText{tokens.Separator, tokens.Padding, tokens.ClassToken, tokens.Mask}, tokens.More...)
	s.legacy, s.addPrefixSpace = tokens.Legacy, tokens.AddPrefixSpace
	s.class, s.addBOS, s.addEOS, s.template = tokens.Class, tokens.AddBOS, tokens.AddEOS, tokens.Template
	for id, t := range tokens.Decoder {
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil {
			return nil, formatError(tokenizerConfigFile, "added_tokens_decoder: %w", err)
		}
		s.add(n, t.Content, t.Special, matching{t.LStrip, t.RStrip, t.SingleWord, t.Normalized})
	}
	return s, s.readAdded(f, len(tokens.Decoder) > 0)
}

func (s *special) add(id int64, text string, control bool, m matching) {
	kind := int32(userToken)
	if control {
		kind = controlToken
	}
	s.added = append(s.added, entry{id: id, token: token{text: text, kind: kind, match: m}, added: true})
}

// readAdded reads added_tokens.json, which older folders have in place of added_tokens_decoder.
func (s *special) readAdded(f *folder, newer bool) error {
	data, found, err := f.read(addedTokensFile, maxTokenizer)
	if err != nil || !found || newer {
		return err
	}
	var ids map[string]int64
	if err := json.Unmarshal(data, &ids); err != nil {
		return formatError(addedTokensFile, "%w", err)
	}
	for text, id := range ids {
		s.add(id, text, slices.Contains([]string{s.texts["bos"], s.texts["eos"], s.texts["unknown"], s.texts["padding"]}, text), matching{})
	}
	return nil
}

// more lists the tokens that transformers adds to those of tokenizer.json where they are not in it, in its order: by the
// ids that the files give, then the special tokens, whose id is -1 here.
func (s *special) more() []entry {
	list := slices.Clone(s.added)
	slices.SortFunc(list, func(a, b entry) int { return cmp.Compare(a.id, b.id) })
	texts := append([]tokenText{tokenText(s.texts["bos"]), tokenText(s.texts["eos"]), tokenText(s.texts["unknown"])}, s.others...)
	for _, text := range texts {
		list = append(list, entry{id: -1, token: token{text: string(text), kind: controlToken}, added: true})
	}
	return list
}

// setSpecial sets the special tokens and whether a text is put between them. file is tokenizer.json, nil without.
func (v *vocabulary) setSpecial(c *config, s *special, file *tokenizerJSON) error {
	for name, text := range s.texts {
		if _, known := v.special[name]; known {
			continue // the model itself says so
		}
		if id, ok := v.byText[text]; ok && text != "" {
			v.special[name] = id
		}
	}
	for _, list := range []struct {
		file, name string
		ids        tokenIDs
	}{{configFile, "bos", c.BOS}, {configFile, "eos", c.EOS}, {generationFile, "eos", c.generationEOS}} {
		for _, id := range list.ids {
			if id < 0 || id >= int64(len(v.tokens)) {
				return formatError(list.file, "%s_token_id is %d, the embedding has %d rows", list.name, id, len(v.tokens))
			}
			known, ok := v.special[list.name]
			switch {
			case list.name == "bos" && s.configured: // the tokenizer's own files say whether there is one
			case !ok:
				v.special[list.name] = id
			case list.name == "eos" && id != known && !slices.Contains(v.ends, id):
				v.ends = append(v.ends, id)
			}
		}
	}
	v.addBOS, v.addEOS = s.surround(file, v)
	return nil
}

// surround returns whether the tokenizer puts BOS before and EOS after a text. Llama's class asks the two flags,
// the others the file's own template.
func (s *special) surround(file *tokenizerJSON, v *vocabulary) (bos, eos bool) {
	flag := func(p *bool, missing bool) bool {
		if p == nil {
			return missing
		}
		return *p
	}
	if file == nil || strings.HasPrefix(s.class, "LlamaTokenizer") || strings.HasPrefix(s.class, "CodeLlamaTokenizer") {
		bos, eos = flag(s.addBOS, true), flag(s.addEOS, false)
	} else if t := file.PostProcessor.find("TemplateProcessing"); t != nil {
		after := false
		for _, part := range t.Single {
			switch {
			case part.Sequence != nil:
				after = true
			case part.SpecialToken != nil && part.SpecialToken.ID == s.texts["bos"] && !after:
				bos = true
			case part.SpecialToken != nil && part.SpecialToken.ID == s.texts["eos"] && after:
				eos = true
			case part.SpecialToken != nil:
				v.note("%s: post_processor: %q is not put beside texts: llama.cpp knows BOS and EOS only", tokenizerFile, part.SpecialToken.ID)
			}
		}
	} else {
		bos, eos = flag(s.addBOS, false), flag(s.addEOS, false)
	}
	_, hasBOS := v.special["bos"]
	_, hasEOS := v.special["eos"]
	return bos && hasBOS, eos && hasEOS
}
