package huggingface

import (
	"bytes"
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// metadata returns the keys of the model itself, without the tokenizer's.
func (c *config) metadata(name string, card *card) quant.Metadata {
	var m quant.Metadata
	m.Set("general.architecture", c.arch)
	m.Set("general.type", "model")
	m.Set("general.name", name)
	card.set(&m)
	for _, n := range []struct {
		key   string
		value int64
	}{
		{"context_length", c.context}, {"embedding_length", c.HiddenSize}, {"block_count", c.Layers},
		{"feed_forward_length", c.IntermediateSize}, {"attention.head_count", c.Heads},
		{"attention.head_count_kv", c.kvHeads}, {"attention.key_length", c.headDim},
		{"attention.value_length", c.headDim}, {"rope.dimension_count", c.headDim}, {"vocab_size", c.VocabSize},
	} {
		m.Set(c.arch+"."+n.key, uint32(n.value))
	}
	m.Set(c.arch+".attention.layer_norm_rms_epsilon", float32(c.epsilon))
	m.Set(c.arch+".rope.freq_base", float32(c.rope.theta))
	if c.rope.kind != "" {
		m.Set(c.arch+".rope.scaling.type", c.rope.kind)
		m.Set(c.arch+".rope.scaling.factor", float32(c.rope.factor))
	}
	if c.rope.kind == "yarn" {
		m.Set(c.arch+".rope.scaling.original_context_length", uint32(c.rope.trained))
		m.Set(c.arch+".rope.scaling.attn_factor", float32(c.rope.attn))
	}
	return m
}

// readGeneration reads generation_config.json's tokens that end an answer, if the file is there.
func (c *config) readGeneration(f *folder) error {
	data, found, err := f.read(generationFile, maxConfig)
	if err != nil || !found {
		return err
	}
	var v struct {
		EOS tokenIDs `json:"eos_token_id"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return formatError(generationFile, "%w", err)
	}
	c.generationEOS = v.EOS
	return nil
}

// card is the front matter of README.md, where the licence stands.
type card struct {
	License     texts `yaml:"license"`
	LicenseName texts `yaml:"license_name"`
	LicenseLink texts `yaml:"license_link"`
	BaseModel   texts `yaml:"base_model"`
	Languages   texts `yaml:"language"`
	Tags        texts `yaml:"tags"`
}

// texts is a text or a list of them; anything else counts as none.
type texts []string

// UnmarshalYAML implements yaml.Unmarshaler.
func (t *texts) UnmarshalYAML(node *yaml.Node) error {
	var one string
	if node.Kind == yaml.ScalarNode && node.Decode(&one) == nil && one != "" {
		*t = texts{one}
		return nil
	}
	var list []string
	if node.Kind == yaml.SequenceNode && node.Decode(&list) == nil {
		*t = list
	}
	return nil
}

// readCard reads the model card. A card that cannot be read counts as none: it is for people.
func readCard(f *folder) (*card, error) {
	data, found, err := f.read(cardFile, maxConfig)
	if err != nil {
		return nil, err
	}
	c := &card{}
	fence := []byte("---\n")
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	if !found || !bytes.HasPrefix(data, fence) {
		return c, nil
	}
	matter, _, closed := bytes.Cut(data[len(fence):], []byte("\n---"))
	if !closed || len(matter) > 64<<10 || yaml.Unmarshal(matter, c) != nil {
		return &card{}, nil
	}
	return c, nil
}

func (c *card) set(m *quant.Metadata) {
	for _, l := range []struct {
		key  string
		text texts
	}{{"general.license", c.License}, {"general.license.name", c.LicenseName}, {"general.license.link", c.LicenseLink}} {
		if len(l.text) > 0 {
			m.Set(l.key, l.text[0])
		}
	}
	for i, base := range c.BaseModel {
		m.Set("general.base_model.count", uint32(len(c.BaseModel)))
		m.Set(fmt.Sprintf("general.base_model.%d.name", i), base)
	}
	if len(c.Languages) > 0 {
		m.Set("general.languages", []string(c.Languages))
	}
	if len(c.Tags) > 0 {
		m.Set("general.tags", []string(c.Tags))
	}
}
