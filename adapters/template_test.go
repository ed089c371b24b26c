package adapters

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
)

// An adapter's own chat template is stored with it, in whatever form the adapter comes, and a part of what it is.
func TestTemplates(t *testing.T) {
	s, p := openStore(t, ""), pefttest.New(1)
	s.o.CheckTemplate = func(source string) error {
		if strings.Contains(source, "bad") {
			return errors.New("line 1 is bad")
		}
		return nil
	}
	plain := mustPut(t, s, "plain", p)
	parts := func(name, text string) []Part { return append(partsOf(t, p), part(name, []byte(text))) }
	archive := func(name, text string) []Part {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		for _, f := range parts(name, text) {
			w, err := z.Create("folder/" + f.Name)
			if err == nil {
				_, err = io.Copy(w, io.NewSectionReader(f.Body, 0, f.Size))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return []Part{part("x.zip", b.Bytes())}
	}
	const source = "{{ messages[0].content }}"
	digests := map[string]bool{plain.Digest: true}
	for name, c := range map[string]struct {
		parts []Part
		want  string
	}{
		"file":        {parts(TemplateFile, source), source},
		"archive":     {archive(TemplateFile, source), source},
		"a text":      {parts(tokenizerFile, `{"chat_template": "{{ 1 }}"}`), "{{ 1 }}"},
		"a list":      {archive(tokenizerFile, `{"chat_template": [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "{{ 2 }}"}]}`), "{{ 2 }}"},
		"none":        {parts(tokenizerFile, `{"chat_template": null}`), ""},
		"the file":    {append(parts(tokenizerFile, `{"chat_template": "x"}`), part(TemplateFile, []byte("{{ 3 }}"))), "{{ 3 }}"},
		"other first": {append(parts(TemplateFile, "{{ 4 }}"), part(tokenizerFile, []byte(`{"chat_template": "x"}`))), "{{ 4 }}"},
	} {
		info, err := s.PutUpload(t.Context(), "a", c.parts, Note{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := s.ChatTemplate(info.Digest)
		if err != nil || got != c.want || (info.Digest == plain.Digest) != (c.want == "") {
			t.Errorf("%s: %q, %v, version %s", name, got, err, info.Version)
		}
		digests[info.Digest] = true
		if exported := exportedTemplate(t, s, "a"); exported != c.want {
			t.Errorf("%s: exported with %q", name, exported)
		}
	}
	if len(digests) != 6 {
		t.Errorf("%d different versions, want 6", len(digests))
	}
	testBadTemplates(t, s, parts, archive)
}

// exportedTemplate is the chat template that an adapter leaves with.
func exportedTemplate(t *testing.T, s *Store, name string) string {
	t.Helper()
	e, err := s.Export(t.Context(), Ref{Name: name, Scale: 1}, PEFT)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	z, err := zip.NewReader(e, e.Size)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range z.File {
		if f.Name != TemplateFile {
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	return ""
}

// testBadTemplates wants templates that cannot be used refused.
func testBadTemplates(t *testing.T, s *Store, parts, archive func(name, text string) []Part) {
	t.Helper()
	for name, c := range map[string]struct {
		parts []Part
		is    error
		say   string
	}{
		"bad":              {parts(TemplateFile, "bad"), peft.ErrFormat, "its chat template cannot be used: line 1 is bad"},
		"too long":         {parts(TemplateFile, strings.Repeat("x", maxTemplate+1)), ErrTooLarge, TemplateFile},
		"too long, within": {parts(tokenizerFile, `{"chat_template": "`+strings.Repeat("x", maxTemplate+1)+`"}`), ErrTooLarge, "chat_template in"},
		"no JSON":          {archive(tokenizerFile, `{`), peft.ErrFormat, tokenizerFile},
		"a number":         {parts(tokenizerFile, `{"chat_template": 7}`), peft.ErrFormat, "neither a text nor a list"},
	} {
		_, err := s.PutUpload(t.Context(), "b", c.parts, Note{})
		if pefttest.WantError(t, err, c.is, c.say); err == nil {
			t.Error(name)
		}
	}
}

// A watched folder's adapter is registered again when its chat template changes; a store that is opened again has it still,
// and finds that it was changed on the disk.
func TestTemplateOfFolder(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	s, err := Open(Options{Dir: data, Facts: pefttest.Facts()})
	if err != nil {
		t.Fatal(err)
	}
	pefttest.New(1).Folder(t, dir)
	before, err := s.PutPath(t.Context(), "a", dir, Note{})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, TemplateFile), []byte("{{ 1 }}"))
	after, err := s.PutPath(t.Context(), "a", dir, Note{})
	if err != nil || after.Digest == before.Digest {
		t.Fatalf("%+v, %v", after, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, data)
	if got, err := s.ChatTemplate(after.Digest); got != "{{ 1 }}" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := s.load(after.Digest); err != nil {
		t.Error(err)
	}
	s.Close()
	write(t, filepath.Join(data, "versions", after.Digest, TemplateFile), []byte("{{ 2 }}"))
	s = openStore(t, data)
	if _, err := s.load(after.Digest); !errors.Is(err, ErrDamaged) {
		t.Errorf("a changed template: %v", err)
	}
}
