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

// An adapter may come with the chat template that it was trained with. Folders hold it as a file of its own, or within the
// configuration of the tokenizer; it is stored as a file of its own beside PEFT's two.

const (
	// TemplateFile is the file of an adapter's chat template.
	TemplateFile = "chat_template.jinja"
	// tokenizerFile may hold it too.
	tokenizerFile = "tokenizer_config.json"

	maxTemplate        = 512 << 10 // bytes
	maxTokenizerConfig = 16 << 20
)

// isTemplateFile reports whether a file of an adapter may hold its chat template.
func isTemplateFile(name string) bool { return name == TemplateFile || name == tokenizerFile }

// readTemplate keeps the template that one of the files has. TemplateFile counts before the tokenizer's configuration.
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
	if name == TemplateFile {
		o.template = string(text)
		return nil
	}
	if o.template != "" {
		return nil
	}
	o.template, err = templateOfTokenizer(text)
	if err == nil && len(o.template) > maxTemplate {
		err = fmt.Errorf("%w: chat_template in %s has more than %d bytes", ErrTooLarge, name, maxTemplate)
	}
	return err
}

// templateOfTokenizer is the chat template in a tokenizer's configuration: a text, or a list of named ones of which the
// default is taken; "" where there is none.
func templateOfTokenizer(text []byte) (string, error) {
	var c struct {
		Template json.RawMessage `json:"chat_template"`
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return "", fmt.Errorf("%w: %s: %w", peft.ErrFormat, tokenizerFile, err)
	}
	var one string
	var list []struct{ Name, Template string }
	switch {
	case len(c.Template) == 0 || string(c.Template) == "null":
		return "", nil
	case json.Unmarshal(c.Template, &one) == nil:
		return one, nil
	case json.Unmarshal(c.Template, &list) != nil:
		return "", fmt.Errorf("%w: chat_template in %s is neither a text nor a list of named ones", peft.ErrFormat, tokenizerFile)
	}
	for _, t := range list {
		if t.Name == "default" {
			return t.Template, nil
		}
	}
	return "", nil
}

// folderTemplate reads the template of a folder, where it has one; open opens a file of it by name.
func (o *opener) folderTemplate(open func(name string) (*os.File, error)) error {
	for _, name := range []string{TemplateFile, tokenizerFile} {
		f, err := open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if _, err = filePart(f, name); err == nil {
			err = o.readTemplate(name, f)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		if o.template != "" {
			return nil
		}
	}
	return nil
}

// checkTemplate refuses a template that cannot be used.
func (s *Store) checkTemplate(source string) error {
	if source == "" || s.o.CheckTemplate == nil {
		return nil
	}
	if err := s.o.CheckTemplate(source); err != nil {
		return fmt.Errorf("%w: its chat template cannot be used: %w", peft.ErrFormat, err)
	}
	return nil
}

// ChatTemplate returns the chat template that a version came with, "" where it came with none. Whoever asks holds the
// version, as a Selection does.
func (s *Store) ChatTemplate(digest string) (string, error) {
	s.mu.RLock()
	v := s.versions[digest]
	there := v != nil && v.manifest != nil && v.manifest.Files[TemplateFile] > 0
	s.mu.RUnlock()
	if !there {
		return "", nil
	}
	text, err := os.ReadFile(s.path("versions", digest, TemplateFile))
	if err != nil {
		return "", fmt.Errorf("%w: version %s: %w", ErrDamaged, shortDigest(digest), err)
	}
	return string(text), nil
}

// storedFiles are the files of the version in dir that its digest covers.
func storedFiles(dir string) []string {
	files := []string{peft.ConfigFile, peft.TensorsFile}
	if _, err := os.Stat(filepath.Join(dir, TemplateFile)); err == nil {
		files = append(files, TemplateFile)
	}
	return files
}
