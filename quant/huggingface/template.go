package huggingface

import (
	"encoding/json"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// templates are the chat templates of a folder; "default" is the one that is used where none is asked for.
type templates struct {
	names []string // in the order they were found
	text  map[string]string
}

func (t *templates) add(file, name, text string) error {
	switch {
	case len(text) > maxTemplate:
		return formatError(file, "chat template %q has %d bytes, at most %d are read", name, len(text), maxTemplate)
	case !utf8.ValidString(text):
		return formatError(file, "chat template %q is no UTF-8", name)
	}
	if _, there := t.text[name]; !there {
		t.names = append(t.names, name)
	}
	t.text[name] = text
	return nil
}

// readTemplates reads the chat templates. As in transformers, files of their own win over tokenizer_config.json's
// field, a text or a list of named ones.
func readTemplates(f *folder, field json.RawMessage) (*templates, error) {
	t := &templates{text: map[string]string{}}
	if err := t.parse(tokenizerConfigFile, field); err != nil {
		return nil, err
	}
	data, found, err := f.read(templateJSONFile, maxConfig)
	if err != nil {
		return nil, err
	}
	if found {
		var v struct {
			Template json.RawMessage `json:"chat_template"`
		}
		if err := json.Unmarshal(data, &v); err != nil {
			return nil, formatError(templateJSONFile, "%w", err)
		}
		if err := t.parse(templateJSONFile, v.Template); err != nil {
			return nil, err
		}
	}
	if data, found, err = f.read(templateFile, maxTemplate); err != nil {
		return nil, err
	}
	if found {
		if err := t.add(templateFile, "default", string(data)); err != nil {
			return nil, err
		}
	}
	return t, t.readFolders(f)
}

// parse reads a template, or a list of {name, template}.
func (t *templates) parse(file string, field json.RawMessage) error {
	var one string
	var list []struct{ Name, Template string }
	switch {
	case len(field) == 0 || string(field) == "null":
		return nil
	case json.Unmarshal(field, &one) == nil:
		return t.add(file, "default", one)
	case json.Unmarshal(field, &list) != nil:
		return formatError(file, "chat_template is neither a text nor a list of names and templates")
	}
	for _, x := range list {
		if err := t.add(file, x.Name, x.Template); err != nil {
			return err
		}
	}
	return nil
}

func (t *templates) readFolders(f *folder) error {
	for _, dir := range templateFolders {
		names, err := f.list(dir)
		if err != nil {
			return err
		}
		for _, name := range names {
			short, ok := strings.CutSuffix(name, ".jinja")
			if !ok {
				continue
			}
			file := path.Join(dir, name)
			data, found, err := f.read(file, maxTemplate)
			if err != nil {
				return err
			}
			if found {
				if err := t.add(file, short, string(data)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// set writes the templates' keys, as llama.cpp's converter does.
func (t *templates) set(m *quant.Metadata) {
	if text, ok := t.text["default"]; ok {
		m.Set("tokenizer.chat_template", text)
	}
	var others []string
	for _, name := range t.names {
		if name != "default" && name != "" {
			others = append(others, name)
			m.Set("tokenizer.chat_template."+name, t.text[name])
		}
	}
	if len(others) > 0 {
		m.Set("tokenizer.chat_templates", others)
	}
}
