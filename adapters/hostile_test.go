package adapters

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
)

// hostileTensors are what may stand for adapter_model.safetensors, and what is said of it.
func hostileTensors(t *testing.T) map[string]refusal {
	p := newPEFT(1)
	c, whole := p.encode(t)
	one := func(entry string) []byte { return withHeader(`{"a":`+entry+`}`, make([]byte, 8)) }
	spoiled := func(x float32) []byte {
		q := newPEFT(1)
		const name = testQ + ".lora_B.weight"
		v := values(t, q.tensors[name])
		v[3] = x
		q.tensors[name] = NewTensor(name, q.tensors[name].Shape, v)
		_, w := q.encode(t)
		return w
	}
	with := func(tensors []byte, want error, text ...string) refusal {
		return refusal{[]Part{part(configFile, c), part(tensorsFile, tensors)}, want, text}
	}
	deep := strings.Repeat(`{"a":`, 100_000)
	return map[string]refusal{
		"cut in the header": with(whole[:40], ErrFormat, "header"),
		"cut in the values": with(whole[:len(whole)-5], ErrFormat, "outside"),
		"huge header":       with(binary.LittleEndian.AppendUint64(nil, math.MaxUint64), ErrFormat, "states"),
		"long header":       with(binary.LittleEndian.AppendUint64(nil, 1<<40), ErrFormat, "states"),
		"deep header":       with(withHeader(deep, nil), ErrFormat, "header"),
		"overlap": with(withHeader(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, make([]byte, 8)),
			ErrFormat, `"b" overlaps`),
		"hole":          with(one(`{"dtype":"F32","shape":[1],"data_offsets":[4,8]}`), ErrFormat, "no tensor"),
		"outside":       with(one(`{"dtype":"F32","shape":[2],"data_offsets":[4294967296,4294967304]}`), ErrFormat, "outside"),
		"huge shape":    with(one(`{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}`), ErrFormat, "impossible"),
		"wrong dtype":   with(one(`{"dtype":"I64","shape":[1],"data_offsets":[0,8]}`), ErrFormat, `"I64" is none of`),
		"unknown dtype": with(one(`{"dtype":"F4","shape":[1],"data_offsets":[0,8]}`), ErrFormat, `"F4" is unknown`),
		"NaN":           with(spoiled(float32(math.NaN())), ErrUnsupported, testQ+".lora_B.weight", "value 3 is NaN"),
		"infinity":      with(spoiled(float32(math.Inf(-1))), ErrUnsupported, testQ+".lora_B.weight", "value 3 is -Inf"),
		"not our name":  with(one(`{"dtype":"F32","shape":[2],"data_offsets":[0,8]}`), ErrUnsupported, `"a"`),
	}
}

// hostileGGUFs are what may come as a GGUF LoRA file.
func hostileGGUFs(t *testing.T) map[string]refusal {
	whole := newGGUF(newPEFT(1).lora(t, testFacts()), 8).encode(t)
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
		"GGUF cut in the header": with(whole[:60], ErrFormat, "28 tensors, more than a file of 60 bytes can hold"),
		"GGUF cut in the values": with(whole[:len(whole)-64], ErrFormat, "lies outside"),
		"GGUF of many tensors":   with(change(8, huge...), ErrFormat, "tensors"),
		"GGUF of many pairs":     with(change(16, huge...), ErrFormat, "key-value pairs"),
		"GGUF with a long key":   with(change(24, huge...), ErrFormat, "ends inside the header"),
		"GGUF with a NaN":        with(nan, ErrUnsupported, "NaN"),
	}
}

// Whatever comes in at whatever door, as an upload, an archive, a path of a folder or for a merge, is refused by the
// same words, in little memory, and leaves nothing behind.
func TestHostileAdaptersAtEveryDoor(t *testing.T) {
	const limit = 32 << 20
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir, Facts: testFacts()})
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
			data := make([]byte, p.Size)
			if err := readAt(p.Body, data, 0); err != nil {
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
		doors := map[string]func() error{
			"upload": func() error { _, err := s.PutUpload("x", c.parts, Note{}); return err },
			"path":   func() error { _, err := s.PutPath("x", path, Note{}); return err },
			"merge":  func() error { return openAndRead(path) },
		}
		if len(c.parts) == 2 {
			doors["zip"] = func() error {
				_, err := s.PutUpload("x", []Part{part("x.zip", zipOf(t, files...))}, Note{})
				return err
			}
			doors["tar.gz"] = func() error {
				_, err := s.PutUpload("x", []Part{part("x.tar.gz", gzipOf(t, tarOf(t, files...)))}, Note{})
				return err
			}
		}
		for door, enter := range doors {
			t.Run(name+"/"+door, func(t *testing.T) {
				var before, after goruntime.MemStats
				goruntime.ReadMemStats(&before)
				err := enter()
				goruntime.ReadMemStats(&after)
				wantError(t, err, c.want, c.text...)
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
	a, err := OpenPath(testFacts(), path)
	if err != nil {
		return err
	}
	defer a.Close()
	for _, tensor := range a.Tensors() {
		if _, _, e := a.Module(tensor); e != nil {
			err = errors.Join(err, e)
		}
	}
	return err
}

// Links in a watched folder are followed inside of it and nowhere else; links in archives are refused by name.
func TestLinksOutOfAnAdapterFolder(t *testing.T) {
	p := newPEFT(1)
	outside, root := t.TempDir(), t.TempDir()
	p.folder(t, filepath.Join(outside, "secret"))
	dir := filepath.Join(root, "mine")
	p.folder(t, dir)
	if err := os.Remove(filepath.Join(dir, tensorsFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "secret", tensorsFile), filepath.Join(dir, tensorsFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "secret"), filepath.Join(root, "linked")); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Options{Dir: t.TempDir(), Facts: testFacts()})
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
		_, err := f.ImportPath("x", path)
		wantError(t, err, ErrPath, path)
	}
	if list := s.List(); len(list) > 0 {
		t.Errorf("registered: %+v", list)
	}
}
