package adapters

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"

	goruntime "runtime"
	"slices"
	"strings"
	"testing"
)

// hostileTensors are what may stand for adapter_model.safetensors, and what is said of it.
func hostileTensors(t *testing.T) map[string]refusal {
	p := pefttest.New(1)
	c, whole := p.Encode(t)
	one := func(entry string) []byte { return pefttest.WithHeader(`{"a":`+entry+`}`, make([]byte, 8)) }
	damaged := func(x float32) []byte {
		q := pefttest.New(1)
		const name = pefttest.Q + ".lora_B.weight"
		v := q.Tensors[name].Values
		v[3] = x
		_, w := q.Encode(t)
		return w
	}
	with := func(tensors []byte, want error, text ...string) refusal {
		return refusal{[]Part{part(peft.ConfigFile, c), part(peft.TensorsFile, tensors)}, want, text}
	}
	deep := strings.Repeat(`{"a":`, 100_000)
	return map[string]refusal{
		"cut in the header": with(whole[:40], peft.ErrFormat, "header"),
		"cut in the values": with(whole[:len(whole)-5], peft.ErrFormat, "outside"),
		"huge header":       with(binary.LittleEndian.AppendUint64(nil, math.MaxUint64), peft.ErrFormat, "states"),
		"long header":       with(binary.LittleEndian.AppendUint64(nil, 1<<40), peft.ErrFormat, "states"),
		"deep header":       with(pefttest.WithHeader(deep, nil), peft.ErrFormat, "header"),
		"overlap": with(pefttest.WithHeader(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, make([]byte, 8)),
			peft.ErrFormat, `"b" overlaps`),
		"hole":          with(one(`{"dtype":"F32","shape":[1],"data_offsets":[4,8]}`), peft.ErrFormat, "no tensor"),
		"outside":       with(one(`{"dtype":"F32","shape":[2],"data_offsets":[4294967296,4294967304]}`), peft.ErrFormat, "outside"),
		"huge shape":    with(one(`{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}`), peft.ErrFormat, "impossible"),
		"wrong dtype":   with(one(`{"dtype":"I64","shape":[1],"data_offsets":[0,8]}`), peft.ErrFormat, `"I64" is none of`),
		"unknown dtype": with(one(`{"dtype":"F4","shape":[1],"data_offsets":[0,8]}`), peft.ErrFormat, `"F4" is unknown`),
		"NaN":           with(damaged(float32(math.NaN())), peft.ErrUnsupported, pefttest.Q+".lora_B.weight", "value 3 is NaN"),
		"infinity":      with(damaged(float32(math.Inf(-1))), peft.ErrUnsupported, pefttest.Q+".lora_B.weight", "value 3 is -Inf"),
		"not our name":  with(one(`{"dtype":"F32","shape":[2],"data_offsets":[0,8]}`), peft.ErrUnsupported, `"a"`),
	}
}

// hostileGGUFs are what may come as a GGUF LoRA file.
func hostileGGUFs(t *testing.T) map[string]refusal {
	whole := pefttest.NewGGUF(loraOf(t, pefttest.New(1), pefttest.Facts()), 8).Encode(t)
	change := func(at int, b ...byte) []byte {
		x := slices.Clone(whole)
		copy(x[at:], b)
		return x
	}
	huge := binary.LittleEndian.AppendUint64(nil, 1<<62)
	nan := bytes.Clone(whole)
	binary.LittleEndian.PutUint32(nan[len(nan)-4:], math.Float32bits(float32(math.NaN())))
	with := func(data []byte, want error, text ...string) refusal {
		return refusal{[]Part{part("x.gguf", data)}, want, text}
	}
	return map[string]refusal{
		"GGUF cut in the header": with(whole[:60], peft.ErrFormat, "28 tensors, more than a file of 60 bytes can hold"),
		"GGUF cut in the values": with(whole[:len(whole)-64], peft.ErrFormat, "lies outside"),
		"GGUF of many tensors":   with(change(8, huge...), peft.ErrFormat, "tensors"),
		"GGUF of many pairs":     with(change(16, huge...), peft.ErrFormat, "key-value pairs"),
		"GGUF with a long key":   with(change(24, huge...), peft.ErrFormat, "ends inside the header"),
		"GGUF with a NaN":        with(nan, peft.ErrUnsupported, "NaN"),
	}
}

// A hostile adapter is refused with the same error at every entry point, as an upload, an archive, a path of a folder or for
// a merge, in little memory, and leaves nothing behind.
func TestHostileAdaptersAtEveryEntryPoint(t *testing.T) {
	const limit = 32 << 20
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir, Facts: pefttest.Facts()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cases := hostileTensors(t)
	for name, c := range hostileGGUFs(t) {
		cases[name] = c
	}
	for name, c := range cases {
		folder := t.TempDir()
		path := folder
		var files []file
		for _, p := range c.parts {
			data, err := io.ReadAll(io.NewSectionReader(p.Body, 0, p.Size))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, file{name: p.Name, data: data})
			if err := os.WriteFile(filepath.Join(folder, p.Name), data, 0o600); err != nil {
				t.Fatal(err)
			}
			if len(c.parts) == 1 {
				path = filepath.Join(folder, p.Name)
			}
		}
		entryPoints := map[string]func() error{
			"upload": func() error { _, err := s.PutUpload(t.Context(), "x", c.parts, Note{}); return err },
			"path":   func() error { _, err := s.PutPath(t.Context(), "x", path, Note{}); return err },
			"merge":  func() error { return openAndRead(path) },
		}
		if len(c.parts) == 2 {
			entryPoints["zip"] = func() error {
				_, err := s.PutUpload(t.Context(), "x", []Part{part("x.zip", zipOf(t, files...))}, Note{})
				return err
			}
			entryPoints["tar.gz"] = func() error {
				_, err := s.PutUpload(t.Context(), "x", []Part{part("x.tar.gz", gzipOf(t, tarOf(t, files...)))}, Note{})
				return err
			}
		}
		for entry, enter := range entryPoints {
			t.Run(name+"/"+entry, func(t *testing.T) {
				var before, after goruntime.MemStats
				goruntime.ReadMemStats(&before)
				err := enter()
				goruntime.ReadMemStats(&after)
				pefttest.WantError(t, err, c.want, c.text...)
				if used := after.TotalAlloc - before.TotalAlloc; used > limit {
					t.Errorf("%d MiB were allocated", used>>20)
				}
			})
		}
	}
	for _, d := range []string{"tmp", "versions", "names"} {
		if left, err := os.ReadDir(filepath.Join(dir, d)); err != nil || len(left) > 0 {
			t.Errorf("%s has %v (%v)", d, left, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "lorikeet-adapter-*")); err != nil || len(left) > 0 {
		t.Errorf("%v is left (%v)", left, err)
	}
}

// openAndRead is the way of an adapter that is merged into a base.
func openAndRead(path string) error {
	a, err := OpenPath(pefttest.Facts(), path)
	if err != nil {
		return err
	}
	defer a.Close()
	for i := range a.Modules {
		if _, e := a.Modules[i].Load(); e != nil {
			err = errors.Join(err, e)
		}
	}
	return err
}

// Links in a watched folder are followed inside of it and nowhere else; links in archives are refused by name.
func TestLinksOutOfAnAdapterFolder(t *testing.T) {
	p := pefttest.New(1)
	outside, root := t.TempDir(), t.TempDir()
	p.Folder(t, filepath.Join(outside, "secret"))
	dir := filepath.Join(root, "mine")
	p.Folder(t, dir)
	if err := os.Remove(filepath.Join(dir, peft.TensorsFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "secret", peft.TensorsFile), filepath.Join(dir, peft.TensorsFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "secret"), filepath.Join(root, "linked")); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Options{Dir: t.TempDir(), Facts: pefttest.Facts()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f, err := WatchFolders(FoldersOptions{Store: s, Dirs: []string{root}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, path := range []string{"mine", "linked", "../" + filepath.Base(outside) + "/secret"} {
		_, err := f.ImportPath(t.Context(), "x", path)
		pefttest.WantError(t, err, ErrPath, path)
	}
	if list := s.List(); len(list) > 0 {
		t.Errorf("registered: %+v", list)
	}
}
