package adapters

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
)

// An adapter's own chat template is stored with it, in whatever form the adapter comes, and a part of what it is.
func TestTemplates(t *testing.T) {
	s, p := openStore(t, ""), pefttest.New(1)
	s.o.CheckTemplates = func(t Templates) error {
		if strings.Contains(t.Default+t.Tools, "bad") {
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
	const folder = templateFolder + "/" + ToolTemplateFile
	list := `{"chat_template": [{"name": "tool_use", "template": "{{ t }}"}, {"name": "rag", "template": "x"}, {"name": "default", "template": "{{ 2 }}"}]}`
	digests := map[string]bool{plain.Digest: true}
	for name, c := range map[string]struct {
		parts []Part
		want  Templates
	}{
		"file":        {parts(TemplateFile, source), Templates{source, ""}},
		"archive":     {archive(TemplateFile, source), Templates{source, ""}},
		"a text":      {parts(tokenizerFile, `{"chat_template": "{{ 1 }}"}`), Templates{"{{ 1 }}", ""}},
		"a list":      {archive(tokenizerFile, list), Templates{"{{ 2 }}", "{{ t }}"}},
		"one of list": {parts(tokenizerFile, `{"chat_template": [{"name": "tool_use", "template": "{{ t }}"}]}`), Templates{"", "{{ t }}"}},
		"none":        {parts(tokenizerFile, `{"chat_template": null}`), Templates{}},
		"the file":    {append(parts(tokenizerFile, list), part(TemplateFile, []byte("{{ 3 }}"))), Templates{"{{ 3 }}", ""}},
		"other first": {append(parts(TemplateFile, "{{ 4 }}"), part(tokenizerFile, []byte(list))), Templates{"{{ 4 }}", ""}},
		"two files":   {append(parts(TemplateFile, source), part(ToolTemplateFile, []byte("{{ t }}"))), Templates{source, "{{ t }}"}},
		"two, folder": {archive(folder, "{{ u }}"), Templates{"", "{{ u }}"}},
		"in one file": {parts(TemplateFile, source+"{{ t }}"), Templates{source + "{{ t }}", ""}},
	} {
		info, err := s.PutUpload(t.Context(), "a", c.parts, Note{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := s.ChatTemplates(info.Digest)
		if err != nil || got != c.want || (info.Digest == plain.Digest) != (c.want == Templates{}) {
			t.Errorf("%s: %q, %v, version %s", name, got, err, info.Version)
		}
		if again, err := DigestOf(s.path("versions", info.Digest)); again != info.Digest || err != nil {
			t.Errorf("%s: the digest is %s, %v", name, again, err)
		}
		digests[info.Digest] = true
		if exported := (Templates{exportedFile(t, s, "a", TemplateFile), exportedFile(t, s, "a", folder)}); exported != c.want {
			t.Errorf("%s: exported with %q", name, exported)
		}
	}
	if len(digests) != 10 {
		t.Errorf("%d different versions, want 10", len(digests))
	}
	testBadTemplates(t, s, parts, archive)
}

// exportedFile is a file that an adapter leaves with, "" where there is none of the name.
func exportedFile(t *testing.T, s *Store, name, file string) string {
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
		if f.Name != file {
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
		"bad for tools":    {parts(ToolTemplateFile, "bad"), peft.ErrFormat, "its chat template cannot be used: line 1 is bad"},
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
	if err := os.Mkdir(filepath.Join(dir, templateFolder), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, templateFolder, ToolTemplateFile), []byte("{{ t }}"))
	after, err := s.PutPath(t.Context(), "a", dir, Note{})
	if err != nil || after.Digest == before.Digest {
		t.Fatalf("%+v, %v", after, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, data)
	if got, err := s.ChatTemplates(after.Digest); got != (Templates{"{{ 1 }}", "{{ t }}"}) || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := s.load(after.Digest); err != nil {
		t.Error(err)
	}
	s.Close()
	write(t, filepath.Join(data, "versions", after.Digest, ToolTemplateFile), []byte("{{ s }}"))
	s = openStore(t, data)
	if _, err := s.load(after.Digest); !errors.Is(err, ErrDamaged) {
		t.Errorf("a changed template: %v", err)
	}
}
