package adapters

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// file is one entry of an archive.
type file struct {
	name string
	data []byte
	link bool
}

// files are the two files of p below dir, among others that a PEFT folder has.
func (p *peftFiles) files(t testing.TB, dir string) []file {
	c, w := p.encode(t)
	return []file{{name: dir + "README.md", data: []byte("# hello")}, {name: dir + tensorsFile, data: w},
		{name: dir + "checkpoint-10/" + configFile, data: []byte("{}")}, {name: dir + configFile, data: c},
		{name: dir + "tokenizer.json", data: []byte("{}")}}
}

func zipOf(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate}
		if f.link {
			h.SetMode(0o777 | os.ModeSymlink)
		}
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tarOf(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Size: int64(len(f.data)), Mode: 0o644, Typeflag: tar.TypeReg}
		if f.link {
			h = &tar.Header{Name: f.name, Linkname: string(f.data), Typeflag: tar.TypeSymlink}
			f.data = nil
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipOf(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestUploadForms puts one adapter in every form and finds one version.
func TestUploadForms(t *testing.T) {
	s, p := openStore(t, ""), newPEFT(1)
	c, w := p.encode(t)
	want := mustPut(t, s, "two-files", p)
	lora := p.lora(t, testFacts())
	plain := newPEFT(1) // what a GGUF file says: no dropout, and every field we write
	plain.config = map[string]any{"peft_type": "LORA", "task_type": "CAUSAL_LM", "inference_mode": true, "bias": "none",
		"r": 4, "lora_alpha": 8, "use_rslora": false, "use_dora": false, "rank_pattern": map[string]int{}, "alpha_pattern": map[string]int{},
		"target_modules": []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}}
	wantGGUF := mustPut(t, s, "plain", plain)
	if want.Digest == wantGGUF.Digest {
		t.Fatal("the digest does not cover the configuration")
	}
	for name, x := range map[string]struct {
		parts []Part
		want  Info
	}{
		"two files in a folder": {[]Part{part("a/b/"+tensorsFile, w), part("a/b/"+configFile, c)}, want},
		"zip":                   {[]Part{part("x", zipOf(t, p.files(t, "")...))}, want},
		"zip with a folder":     {[]Part{part("x.zip", zipOf(t, p.files(t, "pirate/")...))}, want},
		"tar":                   {[]Part{part("x.tar", tarOf(t, p.files(t, "")...))}, want},
		"tar with dots":         {[]Part{part("x.tar", tarOf(t, p.files(t, "./")...))}, want},
		"tar with a folder":     {[]Part{part("x", tarOf(t, p.files(t, "./pirate/")...))}, want},
		"tar.gz":                {[]Part{part("x.tgz", gzipOf(t, tarOf(t, p.files(t, "pirate/")...)))}, want},
		"GGUF":                  {[]Part{part("x.gguf", newGGUF(lora, 8).encode(t))}, wantGGUF},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := s.PutUpload("other", x.parts, Note{})
			if err != nil {
				t.Fatal(err)
			}
			if got.Digest != x.want.Digest {
				t.Errorf("digest %s, want %s", got.Digest, x.want.Digest)
			}
		})
	}
	dir := filepath.Join(t.TempDir(), "pirate")
	p.folder(t, dir)
	for _, path := range []string{dir, dir + "/"} {
		if got, err := s.PutPath("path", path, Note{}); err != nil || got.Digest != want.Digest {
			t.Errorf("%s: %s, %v", path, got.Digest, err)
		}
	}
	if got, err := s.PutLoRA("memory", lora, Note{}); err != nil || got.Digest != wantGGUF.Digest {
		t.Errorf("from memory: %s, %v", got.Digest, err)
	}
	loaded, err := s.load(want.Digest)
	if err != nil {
		t.Fatal(err)
	}
	sameLoRA(t, loaded, lora)
}

// refusal is an upload that must be refused.
type refusal struct {
	parts []Part
	want  error
	text  []string
}

// refuse puts each upload in a store that takes 1 MiB, and sees that it leaves nothing behind.
func refuse(t *testing.T, uploads map[string]refusal) {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir, Facts: testFacts(), MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, x := range uploads {
		t.Run(name, func(t *testing.T) {
			_, err := s.PutUpload("x", x.parts, Note{})
			wantError(t, err, x.want, x.text...)
		})
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("refused uploads leave %v (%v)", left, err)
	}
}

func TestUploadRefuses(t *testing.T) {
	p := newPEFT(1)
	c, w := p.encode(t)
	refuse(t, map[string]refusal{
		"nothing":            {nil, ErrFormat, []string{"no files"}},
		"empty file":         {[]Part{part("x.zip", nil)}, ErrFormat, []string{"x.zip"}},
		"text":               {[]Part{part("x.txt", []byte("hello"))}, ErrFormat, []string{"x.txt"}},
		"pickle":             {[]Part{part(configFile, c), part(pickleFile, w)}, ErrUnsupported, []string{"adapter_model.bin", "pickle"}},
		"config alone":       {[]Part{part(configFile, c)}, ErrFormat, []string{tensorsFile + " is missing"}},
		"tensors alone":      {[]Part{part(tensorsFile, w)}, ErrFormat, []string{configFile + " is missing"}},
		"a third file":       {append(p.parts(t), part("extra.txt", nil)), ErrFormat, []string{"extra.txt"}},
		"config twice":       {[]Part{part(configFile, c), part(configFile, c)}, ErrFormat, []string{configFile}},
		"too large":          {[]Part{part("x", make([]byte, 1<<20+1))}, ErrTooLarge, []string{"1048576"}},
		"too large together": {[]Part{part(configFile, make([]byte, 1<<19)), part(tensorsFile, make([]byte, 1<<19+1))}, ErrTooLarge, nil},
		"long config":        {[]Part{part(configFile, make([]byte, maxConfig-1)), part(tensorsFile, nil)}, ErrFormat, nil},
	})
	_, err := openStore(t, "").PutUpload("no/slash", p.parts(t), Note{})
	wantError(t, err, ErrName, "no/slash")
}

func TestUploadRefusesArchives(t *testing.T) {
	p := newPEFT(1)
	c, w := p.encode(t)
	bomb := file{name: "bomb", data: make([]byte, 8<<20)}
	big := file{name: tensorsFile, data: make([]byte, 8<<20)}
	many := make([]file, maxEntries+1)
	for i := range many {
		many[i].name = fmt.Sprint("f", i)
	}
	with := func(f ...file) []file { return append(f, p.files(t, "")...) }
	refuse(t, map[string]refusal{
		"zip bomb":           {[]Part{part("x", zipOf(t, with(big)...))}, ErrTooLarge, []string{"unpacked"}},
		"tar.gz bomb":        {[]Part{part("x", gzipOf(t, tarOf(t, with(bomb)...)))}, ErrTooLarge, nil},
		"tar.gz bomb, taken": {[]Part{part("x", gzipOf(t, tarOf(t, with(big)...)))}, ErrTooLarge, nil},
		"zip entries":        {[]Part{part("x", zipOf(t, many...))}, ErrFormat, []string{"entries"}},
		"tar entries":        {[]Part{part("x", tarOf(t, many...)[:512*maxEntries+1024])}, ErrFormat, []string{"entries"}},
		"zip up":             {[]Part{part("x", zipOf(t, with(file{name: "../evil"})...))}, ErrFormat, []string{"../evil"}},
		"zip up inside":      {[]Part{part("x", zipOf(t, with(file{name: "a/../../evil"})...))}, ErrFormat, []string{"a/../../evil"}},
		"zip absolute":       {[]Part{part("x", zipOf(t, with(file{name: "/etc/evil"})...))}, ErrFormat, []string{"/etc/evil"}},
		"zip backslash":      {[]Part{part("x", zipOf(t, with(file{name: `..\evil`})...))}, ErrFormat, []string{"evil"}},
		"tar up":             {[]Part{part("x", tarOf(t, with(file{name: "../evil"})...))}, ErrFormat, []string{"../evil"}},
		"zip link":           {[]Part{part("x", zipOf(t, file{tensorsFile, []byte("/etc/passwd"), true}, file{name: configFile, data: c}))}, ErrFormat, []string{tensorsFile, "link"}},
		"tar link":           {[]Part{part("x", tarOf(t, file{tensorsFile, []byte("/etc/passwd"), true}, file{name: configFile, data: c}))}, ErrFormat, []string{tensorsFile, "link"}},
		"entry twice":        {[]Part{part("x", tarOf(t, file{name: configFile, data: c}, file{name: configFile, data: c}))}, ErrFormat, []string{"twice"}},
		"two adapters":       {[]Part{part("x", zipOf(t, append(p.files(t, "a/"), p.files(t, "b/")...)...))}, ErrFormat, []string{"more than one"}},
		"too deep":           {[]Part{part("x", zipOf(t, p.files(t, "a/b/")...))}, ErrFormat, []string{configFile}},
		"no tensors":         {[]Part{part("x", zipOf(t, file{name: configFile, data: c}))}, ErrFormat, []string{tensorsFile}},
		"pickle in zip":      {[]Part{part("x", zipOf(t, file{name: configFile, data: c}, file{name: pickleFile, data: w}))}, ErrUnsupported, []string{"pickle"}},
		"PyTorch's own zip":  {[]Part{part("x", zipOf(t, file{name: "archive/data.pkl", data: w}))}, ErrUnsupported, []string{"pickle"}},
		"cut zip":            {[]Part{part("x", zipOf(t, p.files(t, "")...)[:900])}, ErrFormat, []string{"archive"}},
		"cut tar":            {[]Part{part("x", tarOf(t, p.files(t, "")...)[:3000])}, ErrFormat, []string{"archive"}},
		"cut gzip":           {[]Part{part("x", gzipOf(t, tarOf(t, p.files(t, "")...))[:500])}, ErrFormat, []string{"archive"}},
		"gzip of nothing":    {[]Part{part("x", gzipOf(t, nil))}, ErrFormat, []string{configFile}},
	})
}

// TestZipDirectoryIsBounded gives a directory of far more entries than the end record states, which
// archive/zip believes only modulo 65536.
func TestZipDirectoryIsBounded(t *testing.T) {
	var one bytes.Buffer
	z := zip.NewWriter(&one)
	if _, err := z.Create("a"); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	b := one.Bytes()
	end := bytes.LastIndex(b, []byte("PK\x05\x06"))
	at := int(binary.LittleEndian.Uint32(b[end+16:]))
	const times = 1 + 2*65536
	directory := bytes.Repeat(b[at:end], times)
	data := append(append(append([]byte{}, b[:at]...), directory...), b[end:]...)
	binary.LittleEndian.PutUint32(data[len(data)-10:], uint32(len(directory)))
	if r, err := zip.NewReader(bytes.NewReader(data), int64(len(data))); err != nil || len(r.File) != times {
		t.Fatalf("archive/zip does not read the trap: %v", err)
	}
	_, err := openStore(t, "").PutUpload("x", []Part{part("x.zip", data)}, Note{})
	wantError(t, err, ErrFormat, "too many entries")
}

func FuzzUpload(f *testing.F) {
	p := newPEFT(1)
	p.tensors = map[string]Tensor{}
	p.add(rand.New(rand.NewPCG(1, 1)), q0, 4, testFacts().Targets["blk.0.attn_q.weight"])
	f.Add(zipOf(f, p.files(f, "a/")...))
	f.Add(tarOf(f, p.files(f, "")...))
	f.Add(gzipOf(f, tarOf(f, p.files(f, "")...)))
	f.Add(newGGUF(p.lora(f, testFacts()), 8).encode(f))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		scratch, err := os.MkdirTemp(dir, "fuzz-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(scratch)
		o := &opener{facts: testFacts(), maxBytes: 1 << 16, scratch: scratch}
		src, err := o.upload([]Part{part("x", data)})
		if err != nil {
			return
		}
		defer src.close()
		x, err := src.fit(o.facts)
		if err != nil {
			return
		}
		var w bytes.Buffer
		for i := range x.modules {
			if err := WriteTensors(&w, []Tensor{x.modules[i].a.Tensor, x.modules[i].b.Tensor}); err != nil {
				t.Fatal(err)
			}
		}
	})
}
