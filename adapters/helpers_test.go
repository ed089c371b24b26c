package adapters

import (
	"bytes"
	"io"
	"os"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// partsOf is the upload of the two files.
func partsOf(t testing.TB, p *pefttest.Files) []Part {
	c, w := p.Encode(t)
	return []Part{part(peft.ConfigFile, c), part(peft.TensorsFile, w)}
}

func part(name string, data []byte) Part {
	return Part{Name: name, Body: bytes.NewReader(data), Size: int64(len(data))}
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// openStore opens a store in dir, or in a new folder where dir is "".
func openStore(t testing.TB, dir string) *Store {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	s, err := Open(Options{Dir: dir, Facts: pefttest.Facts(), Warn: func(w string) { t.Log("store:", w) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// useFiles puts another file system in the place of the store's.
func useFiles(s *Store, fs fileSystem) {
	s.fs = fs
	s.storage.(*folder).fs = fs
}

func mustPut(t testing.TB, s *Store, name string, p *pefttest.Files) Info {
	t.Helper()
	info, err := s.PutUpload(t.Context(), name, partsOf(t, p), Note{Origin: Origin{Kind: FromUpload}})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// fitOf parses and fits an adapter.
func fitOf(t testing.TB, p *pefttest.Files, f *runtime.Facts) *peft.Adapter {
	t.Helper()
	c, w := p.Encode(t)
	src, err := peft.Read(io.NewSectionReader(bytes.NewReader(c), 0, int64(len(c))), io.NewSectionReader(bytes.NewReader(w), 0, int64(len(w))))
	if err != nil {
		t.Fatal(err)
	}
	a, err := src.Fit(f)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// loraOf is fitOf and the values.
func loraOf(t testing.TB, p *pefttest.Files, f *runtime.Facts) *runtime.LoRA {
	t.Helper()
	a, err := fitOf(t, p, f).LoRA()
	if err != nil {
		t.Fatal(err)
	}
	return a
}
