package adapters

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
)

// An adapter may come with the chat templates that it was trained with: one for all conversations, and one for those with
// tools. Folders hold them as files of their own, or within the configuration of the tokenizer; they are stored as files of
// their own beside PEFT's two.

const (
	// TemplateFile is the file of an adapter's chat template.
	TemplateFile = "chat_template.jinja"
	// ToolTemplateFile is the file of the template for conversations with tools.
	ToolTemplateFile = "tool_use.jinja"
	// templateFolder is where transformers keeps ToolTemplateFile.
	templateFolder = "additional_chat_templates"
	// tokenizerFile may hold both too.
	tokenizerFile = "tokenizer_config.json"

	maxTemplate        = 512 << 10 // bytes
	maxTokenizerConfig = 16 << 20
)

// Templates are an adapter's chat templates, as sources of Jinja; "" where it has none.
type Templates struct {
	Default string
	Tools   string // for conversations with tools, in place of Default
}

// isTemplateFile reports whether a file of an adapter may hold a chat template of it.
func isTemplateFile(name string) bool {
	return name == TemplateFile || name == ToolTemplateFile || name == tokenizerFile
}

// readTemplate keeps the templates that one of the files has.
func (o *opener) readTemplate(name string, r io.Reader) error {
	most := int64(maxTemplate)
	if name == tokenizerFile {
		most = maxTokenizerConfig
	}
	text, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return err
	}
	if int64(len(text)) > most {
		return fmt.Errorf("%w: %s has more than %d bytes", ErrTooLarge, name, most)
	}
	switch name {
	case TemplateFile:
		o.inFiles.Default = string(text)
		return nil
	case ToolTemplateFile:
		o.inFiles.Tools = string(text)
		return nil
	}
	o.inTokenizer, err = templatesOfTokenizer(text)
	if err == nil && max(len(o.inTokenizer.Default), len(o.inTokenizer.Tools)) > maxTemplate {
		err = fmt.Errorf("%w: chat_template in %s has more than %d bytes", ErrTooLarge, name, maxTemplate)
	}
	return err
}

// templates are those that were read. Files of templates count, the tokenizer's configuration only where there are none.
func (o *opener) templates() Templates {
	if o.inFiles != (Templates{}) {
		return o.inFiles
	}
	return o.inTokenizer
}

// templatesOfTokenizer are the chat templates in a tokenizer's configuration: a text, or a list of named ones.
func templatesOfTokenizer(text []byte) (t Templates, err error) {
	var c struct {
		Template json.RawMessage `json:"chat_template"`
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return t, fmt.Errorf("%w: %s: %w", peft.ErrFormat, tokenizerFile, err)
	}
	var list []struct{ Name, Template string }
	switch {
	case len(c.Template) == 0 || string(c.Template) == "null" || json.Unmarshal(c.Template, &t.Default) == nil:
		return t, nil
	case json.Unmarshal(c.Template, &list) != nil:
		return t, fmt.Errorf("%w: chat_template in %s is neither a text nor a list of named ones", peft.ErrFormat, tokenizerFile)
	}
	for _, one := range list {
		switch one.Name {
		case "default":
			t.Default = one.Template
		case "tool_use":
			t.Tools = one.Template
		}
	}
	return t, nil
}

// folderTemplates reads the templates of a folder, where it has some; open opens a file of it by name.
func (o *opener) folderTemplates(open func(name string) (*os.File, error)) error {
	for _, name := range []string{TemplateFile, ToolTemplateFile, filepath.Join(templateFolder, ToolTemplateFile), tokenizerFile} {
		f, err := open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if _, err = filePart(f, name); err == nil {
			err = o.readTemplate(filepath.Base(name), f)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// checkTemplates refuses templates that cannot be used.
func (s *Store) checkTemplates(t Templates) error {
	if t == (Templates{}) || s.o.CheckTemplates == nil {
		return nil
	}
	if err := s.o.CheckTemplates(t); err != nil {
		return fmt.Errorf("%w: its chat template cannot be used: %w", peft.ErrFormat, err)
	}
	return nil
}

// ChatTemplates returns the chat templates that a version came with. Whoever asks holds the version, as a Selection does.
func (s *Store) ChatTemplates(digest string) (t Templates, err error) {
	s.mu.RLock()
	v := s.versions[digest]
	var files map[string]int64
	if v != nil && v.manifest != nil {
		files = v.manifest.Files
	}
	s.mu.RUnlock()
	if files[TemplateFile] == 0 && files[ToolTemplateFile] == 0 {
		return t, nil
	}
	dir, release, err := s.storage.Folder(s.closing, digest)
	if err != nil {
		return t, err
	}
	defer release()
	for name, text := range map[string]*string{TemplateFile: &t.Default, ToolTemplateFile: &t.Tools} {
		if files[name] == 0 {
			continue
		}
		source, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return t, fmt.Errorf("%w: version %s: %w", ErrDamaged, shortDigest(digest), err)
		}
		*text = string(source)
	}
	return t, nil
}

// templateFiles are the files of the version in dir that hold templates.
func templateFiles(dir string) (names []string) {
	for _, name := range []string{TemplateFile, ToolTemplateFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			names = append(names, name)
		}
	}
	return names
}
