package adapters

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
)

// file is one entry of an archive.
type file struct {
	name string
	data []byte
	link bool
}

// filesOf are the two files of p below dir, among others that a PEFT folder has.
func filesOf(t testing.TB, p *pefttest.Files, dir string) []file {
	c, w := p.Encode(t)
	return []file{{name: dir + "README.md", data: []byte("# hello")}, {name: dir + peft.TensorsFile, data: w},
		{name: dir + "checkpoint-10/" + peft.ConfigFile, data: []byte("{}")}, {name: dir + peft.ConfigFile, data: c},
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
	s, p := openStore(t, ""), pefttest.New(1)
	c, w := p.Encode(t)
	want := mustPut(t, s, "two-files", p)
	lora := loraOf(t, p, pefttest.Facts())
	plain := pefttest.New(1) // what a GGUF file says: no dropout, and every field we write
	plain.Config = map[string]any{"peft_type": "LORA", "task_type": "CAUSAL_LM", "inference_mode": true, "bias": "none",
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
		"two files in a folder": {[]Part{part("a/b/"+peft.TensorsFile, w), part("a/b/"+peft.ConfigFile, c)}, want},
		"zip":                   {[]Part{part("x", zipOf(t, filesOf(t, p, "")...))}, want},
		"zip with a folder":     {[]Part{part("x.zip", zipOf(t, filesOf(t, p, "pirate/")...))}, want},
		"tar":                   {[]Part{part("x.tar", tarOf(t, filesOf(t, p, "")...))}, want},
		"tar with dots":         {[]Part{part("x.tar", tarOf(t, filesOf(t, p, "./")...))}, want},
		"tar with a folder":     {[]Part{part("x", tarOf(t, filesOf(t, p, "./pirate/")...))}, want},
		"tar.gz":                {[]Part{part("x.tgz", gzipOf(t, tarOf(t, filesOf(t, p, "pirate/")...)))}, want},
		"GGUF":                  {[]Part{part("x.gguf", pefttest.NewGGUF(lora, 8).Encode(t))}, wantGGUF},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := s.PutUpload(t.Context(), "other", x.parts, Note{})
			if err != nil {
				t.Fatal(err)
			}
			if got.Digest != x.want.Digest {
				t.Errorf("digest %s, want %s", got.Digest, x.want.Digest)
			}
		})
	}
	dir := filepath.Join(t.TempDir(), "pirate")
	p.Folder(t, dir)
	for _, path := range []string{dir, dir + "/"} {
		if got, err := s.PutPath(t.Context(), "path", path, Note{}); err != nil || got.Digest != want.Digest {
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
	pefttest.Same(t, loaded, lora)
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
	s, err := Open(Options{Dir: dir, Facts: pefttest.Facts(), MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, x := range uploads {
		t.Run(name, func(t *testing.T) {
			_, err := s.PutUpload(t.Context(), "x", x.parts, Note{})
			pefttest.WantError(t, err, x.want, x.text...)
		})
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("refused uploads leave %v (%v)", left, err)
	}
}

func TestUploadRefuses(t *testing.T) {
	p := pefttest.New(1)
	c, w := p.Encode(t)
	refuse(t, map[string]refusal{
		"nothing":            {nil, peft.ErrFormat, []string{"no files"}},
		"empty file":         {[]Part{part("x.zip", nil)}, peft.ErrFormat, []string{"x.zip"}},
		"text":               {[]Part{part("x.txt", []byte("hello"))}, peft.ErrFormat, []string{"x.txt"}},
		"pickle":             {[]Part{part(peft.ConfigFile, c), part(pickleFile, w)}, peft.ErrUnsupported, []string{"adapter_model.bin", "pickle"}},
		"config alone":       {[]Part{part(peft.ConfigFile, c)}, peft.ErrFormat, []string{peft.TensorsFile + " is missing"}},
		"tensors alone":      {[]Part{part(peft.TensorsFile, w)}, peft.ErrFormat, []string{peft.ConfigFile + " is missing"}},
		"a third file":       {append(partsOf(t, p), part("extra.txt", nil)), peft.ErrFormat, []string{"extra.txt"}},
		"config twice":       {[]Part{part(peft.ConfigFile, c), part(peft.ConfigFile, c)}, peft.ErrFormat, []string{peft.ConfigFile}},
		"too large":          {[]Part{part("x", make([]byte, 1<<20+1))}, ErrTooLarge, []string{"1048576"}},
		"too large together": {[]Part{part(peft.ConfigFile, make([]byte, 1<<19)), part(peft.TensorsFile, make([]byte, 1<<19+1))}, ErrTooLarge, nil},
		"long config":        {[]Part{part(peft.ConfigFile, make([]byte, peft.MaxConfig-1)), part(peft.TensorsFile, nil)}, peft.ErrFormat, nil},
	})
	_, err := openStore(t, "").PutUpload(t.Context(), "no/slash", partsOf(t, p), Note{})
	pefttest.WantError(t, err, ErrName, "no/slash")
}

func TestUploadRefusesArchives(t *testing.T) {
	p := pefttest.New(1)
	c, w := p.Encode(t)
	zeros := file{name: "zeros", data: make([]byte, 8<<20)}
	big := file{name: peft.TensorsFile, data: make([]byte, 8<<20)}
	many := make([]file, maxEntries+1)
	for i := range many {
		many[i].name = fmt.Sprint("f", i)
	}
	with := func(f ...file) []file { return append(f, filesOf(t, p, "")...) }
	refuse(t, map[string]refusal{
		"a .zip of zeros":           {[]Part{part("x", zipOf(t, with(big)...))}, ErrTooLarge, []string{"unpacked"}},
		"a .tar.gz of zeros":        {[]Part{part("x", gzipOf(t, tarOf(t, with(zeros)...)))}, ErrTooLarge, nil},
		"a .tar.gz of zeros, taken": {[]Part{part("x", gzipOf(t, tarOf(t, with(big)...)))}, ErrTooLarge, nil},
		"zip entries":               {[]Part{part("x", zipOf(t, many...))}, peft.ErrFormat, []string{"entries"}},
		"tar entries":               {[]Part{part("x", tarOf(t, many...)[:512*maxEntries+1024])}, peft.ErrFormat, []string{"entries"}},
		"zip up":                    {[]Part{part("x", zipOf(t, with(file{name: "../evil"})...))}, peft.ErrFormat, []string{"../evil"}},
		"zip up inside":             {[]Part{part("x", zipOf(t, with(file{name: "a/../../evil"})...))}, peft.ErrFormat, []string{"a/../../evil"}},
		"zip absolute":              {[]Part{part("x", zipOf(t, with(file{name: "/etc/evil"})...))}, peft.ErrFormat, []string{"/etc/evil"}},
		"zip backslash":             {[]Part{part("x", zipOf(t, with(file{name: `..\evil`})...))}, peft.ErrFormat, []string{"evil"}},
		"tar up":                    {[]Part{part("x", tarOf(t, with(file{name: "../evil"})...))}, peft.ErrFormat, []string{"../evil"}},
		"zip link":                  {[]Part{part("x", zipOf(t, file{peft.TensorsFile, []byte("/etc/passwd"), true}, file{name: peft.ConfigFile, data: c}))}, peft.ErrFormat, []string{peft.TensorsFile, "link"}},
		"tar link":                  {[]Part{part("x", tarOf(t, file{peft.TensorsFile, []byte("/etc/passwd"), true}, file{name: peft.ConfigFile, data: c}))}, peft.ErrFormat, []string{peft.TensorsFile, "link"}},
		"entry twice":               {[]Part{part("x", tarOf(t, file{name: peft.ConfigFile, data: c}, file{name: peft.ConfigFile, data: c}))}, peft.ErrFormat, []string{"twice"}},
		"two adapters":              {[]Part{part("x", zipOf(t, append(filesOf(t, p, "a/"), filesOf(t, p, "b/")...)...))}, peft.ErrFormat, []string{"more than one"}},
		"too deep":                  {[]Part{part("x", zipOf(t, filesOf(t, p, "a/b/")...))}, peft.ErrFormat, []string{peft.ConfigFile}},
		"no tensors":                {[]Part{part("x", zipOf(t, file{name: peft.ConfigFile, data: c}))}, peft.ErrFormat, []string{peft.TensorsFile}},
		"pickle in zip":             {[]Part{part("x", zipOf(t, file{name: peft.ConfigFile, data: c}, file{name: pickleFile, data: w}))}, peft.ErrUnsupported, []string{"pickle"}},
		"PyTorch's own zip":         {[]Part{part("x", zipOf(t, file{name: "archive/data.pkl", data: w}))}, peft.ErrUnsupported, []string{"pickle"}},
		"cut zip":                   {[]Part{part("x", zipOf(t, filesOf(t, p, "")...)[:900])}, peft.ErrFormat, []string{"archive"}},
		"cut tar":                   {[]Part{part("x", tarOf(t, filesOf(t, p, "")...)[:3000])}, peft.ErrFormat, []string{"archive"}},
		"cut gzip":                  {[]Part{part("x", gzipOf(t, tarOf(t, filesOf(t, p, "")...))[:500])}, peft.ErrFormat, []string{"archive"}},
		"gzip of nothing":           {[]Part{part("x", gzipOf(t, nil))}, peft.ErrFormat, []string{peft.ConfigFile}},
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
	_, err := openStore(t, "").PutUpload(t.Context(), "x", []Part{part("x.zip", data)}, Note{})
	pefttest.WantError(t, err, peft.ErrFormat, "too many entries")
}

func FuzzUpload(f *testing.F) {
	p := pefttest.New(1)
	p.Tensors = map[string]pefttest.Tensor{}
	p.Add(rand.New(rand.NewPCG(1, 1)), "model.layers.0.self_attn.q_proj", 4, pefttest.Facts().Targets["blk.0.attn_q.weight"])
	f.Add(zipOf(f, filesOf(f, p, "a/")...))
	f.Add(tarOf(f, filesOf(f, p, "")...))
	f.Add(gzipOf(f, tarOf(f, filesOf(f, p, "")...)))
	f.Add(pefttest.NewGGUF(loraOf(f, p, pefttest.Facts()), 8).Encode(f))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		scratch, err := os.MkdirTemp(dir, "fuzz-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(scratch)
		o := &opener{ctx: t.Context(), fs: osFiles{}, facts: pefttest.Facts(), maxBytes: 1 << 16, scratch: scratch}
		src, err := o.upload([]Part{part("x", data)})
		if err != nil {
			return
		}
		defer src.Close()
		x, err := src.Fit(o.facts)
		if err != nil {
			return
		}
		_, tensors, err := x.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		if err := peft.WriteTensors(io.Discard, tensors); err != nil && !errors.Is(err, peft.ErrUnsupported) {
			t.Fatal(err)
		}
	})
}
