package adapters

import (
	"archive/zip"
	"bytes"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/merge"
	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// export returns the bytes of a version.
func export(t testing.TB, s *Store, name string, f Format) ([]byte, *Export) {
	t.Helper()
	ref, err := ParseRef(name)
	if err != nil {
		t.Fatal(err)
	}
	e, err := s.Export(t.Context(), ref, f)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	data, err := io.ReadAll(e)
	if err != nil || int64(len(data)) != e.Size {
		t.Fatalf("%d bytes of %d: %v", len(data), e.Size, err)
	}
	return data, e
}

// unzip returns the files of an archive.
func unzip(t testing.TB, data []byte) map[string][]byte {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if files[f.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// stored reads a version's values.
func stored(t testing.TB, s *Store, name string) *runtime.LoRA {
	t.Helper()
	ref, err := ParseRef(name)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.take(ref)
	if err != nil {
		t.Fatal(err)
	}
	defer s.drop(info.Digest)
	a, err := s.load(info.Digest)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func putParts(t testing.TB, s *Store, name string, parts ...Part) Info {
	t.Helper()
	info, err := s.PutUpload(t.Context(), name, parts, Note{Origin: Origin{Kind: FromUpload}})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestExportPEFT(t *testing.T) {
	s := openStore(t, "")
	for name, p := range map[string]*pefttest.Files{"plain": pefttest.New(1), "odd": pefttest.Odd()} {
		info := mustPut(t, s, name, p)
		data, e := export(t, s, name, PEFT)
		if e.Info.Digest != info.Digest || len(e.Notes) > 0 {
			t.Errorf("%s: exported as %s with notes %q", name, e.Info.Digest, e.Notes)
		}
		files := unzip(t, data)
		if len(files) != 2 {
			t.Errorf("the archive has %d files", len(files))
		}
		pefttest.CheckConfig(t, files[peft.ConfigFile])
		_, want := p.Encode(t)
		if !bytes.Equal(tensorBytes(t, files[peft.TensorsFile]), tensorBytes(t, want)) {
			t.Errorf("%s: the tensors are not those that came in", name)
		}
		putParts(t, s, name+"-back", part("back.zip", data))
		pefttest.Same(t, stored(t, s, name+"-back"), stored(t, s, name))
		again, _ := export(t, s, name+"-back", PEFT)
		if !bytes.Equal(again, data) {
			t.Errorf("%s: the export of the export differs from it", name)
		}
		if once, _ := export(t, s, name, PEFT); !bytes.Equal(once, data) {
			t.Errorf("%s: two exports differ", name)
		}
	}
}

// tensorBytes is the file in the order of the tensors' names, which is that of nothing in particular.
func tensorBytes(t testing.TB, file []byte) []byte {
	t.Helper()
	tensors, err := peft.ReadTensors(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(tensors, func(a, b peft.Tensor) int { return strings.Compare(a.Name, b.Name) })
	var b bytes.Buffer
	if err := peft.WriteTensors(&b, tensors); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sameUpTo compares what modules add: Scale * B, which A multiplies.
func sameUpTo(t testing.TB, got, want *runtime.LoRA, tolerance float64) {
	t.Helper()
	for _, w := range want.Modules {
		g := pefttest.Module(t, got, w.Tensor)
		if g.Rank != w.Rank || !slices.Equal(g.A, w.A) {
			t.Fatalf("%s: rank %d or A differ", w.Tensor, g.Rank)
		}
		for i := range w.B {
			x, y := float64(g.Scale)*float64(g.B[i]), float64(w.Scale)*float64(w.B[i])
			if math.Abs(x-y) > tolerance*math.Abs(y) {
				t.Fatalf("%s: value %d of scale*B is %v, want %v", w.Tensor, i, x, y)
			}
		}
	}
}

func TestExportGGUF(t *testing.T) {
	s := openStore(t, "")
	rs := pefttest.New(3)
	rs.Config["use_rslora"] = true
	for name, c := range map[string]struct {
		p      *pefttest.Files
		folded int
	}{
		"plain":  {pefttest.New(1), 0},
		"rslora": {rs, 0},
		// rank 6 of alpha 12.5/sqrt(6) and alpha 3 of two k_proj differ from 12.5/sqrt(4) of the others.
		"odd": {pefttest.Odd(), 3},
	} {
		mustPut(t, s, name, c.p)
		data, e := export(t, s, name, GGUF)
		file, err := quant.Read(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		folded, _ := file.Metadata.String("lorikeet.adapter.folded")
		if n := len(strings.Fields(folded)); n != c.folded || (len(e.Notes) > 0) != (n > 0) {
			t.Errorf("%s: %d modules are folded (%s), notes %q, want %d", name, n, folded, e.Notes, c.folded)
		}
		if arch, _ := file.Metadata.String("general.architecture"); arch != "llama" {
			t.Errorf("the architecture is %q", arch)
		}
		putParts(t, s, name+"-back", part("back.gguf", data))
		got, want := stored(t, s, name+"-back"), stored(t, s, name)
		sameUpTo(t, got, want, 1e-7) // one rounding
		if c.folded == 0 {
			pefttest.Same(t, got, want) // bit by bit
		}
		for _, m := range got.Modules {
			if w := pefttest.Module(t, want, m.Tensor); !strings.Contains(folded, m.Tensor) && (m.Scale != w.Scale || !slices.Equal(m.B, w.B)) {
				t.Errorf("%s is not folded, and differs", m.Tensor)
			}
		}
		if again, _ := export(t, s, name, GGUF); !bytes.Equal(again, data) {
			t.Errorf("%s: two exports differ", name)
		}
	}
}

// An adapter that came as GGUF leaves as PEFT, and comes back the same.
func TestExportFromGGUFToPEFT(t *testing.T) {
	s := openStore(t, "")
	f := pefttest.Facts()
	want := loraOf(t, pefttest.New(4), f)
	putParts(t, s, "in", part("in.gguf", pefttest.NewGGUF(want, 8).Encode(t)))
	data, _ := export(t, s, "in", PEFT)
	files := unzip(t, data)
	pefttest.CheckConfig(t, files[peft.ConfigFile])
	_, tensors := pefttest.New(4).Encode(t) // the rows of q and k in Hugging Face's order again
	if !bytes.Equal(tensorBytes(t, files[peft.TensorsFile]), tensorBytes(t, tensors)) {
		t.Error("the tensors are not those of the same adapter in PEFT's form")
	}
	putParts(t, s, "out", part(peft.ConfigFile, files[peft.ConfigFile]), part(peft.TensorsFile, files[peft.TensorsFile]))
	pefttest.Same(t, stored(t, s, "out"), want)
}

func TestExportGGUFEmbeddings(t *testing.T) {
	facts := pefttest.Facts()
	facts.Targets["token_embd.weight"] = runtime.Shape{In: 16, Out: 32}
	s, err := Open(Options{Dir: t.TempDir(), Facts: facts})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	values := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(rng.NormFloat64())
		}
		return v
	}
	a := &runtime.LoRA{Modules: []runtime.LoRAModule{
		{Tensor: "token_embd.weight", Rank: 3, In: 16, Out: 32, Scale: 0.3, A: values(48), B: values(96)},
		{Tensor: "output.weight", Rank: 2, In: 16, Out: 32, Scale: 0.7, A: values(32), B: values(64)},
	}}
	if _, err := s.PutLoRA("e", a, Note{}); err != nil {
		t.Fatal(err)
	}
	data, _ := export(t, s, "e", GGUF)
	putParts(t, s, "back", part("back.gguf", data))
	b := stored(t, s, "back")
	for i := range a.Modules { // a fold goes into lora_b, which of the embeddings is A
		m, g := a.Modules[i], pefttest.Module(t, b, a.Modules[i].Tensor)
		for r := range m.Out {
			for c := range m.In {
				var x, y float64
				for k := range m.Rank {
					x += float64(g.Scale) * float64(g.B[r*m.Rank+k]) * float64(g.A[k*m.In+c])
					y += float64(m.Scale) * float64(m.B[r*m.Rank+k]) * float64(m.A[k*m.In+c])
				}
				if math.Abs(x-y) > 1e-6 {
					t.Fatalf("%s: the update at %d, %d is %v, want %v", m.Tensor, r, c, x, y)
				}
			}
		}
	}
	s.o.Facts.TiedHead = true
	_, err = s.Export(t.Context(), Ref{Name: "e", Scale: 1}, GGUF)
	pefttest.WantError(t, err, peft.ErrUnsupported, "output.weight", "llama.cpp")
}

// DoRA leaves as PEFT alone, and comes back.
func TestExportDoRA(t *testing.T) {
	s := openStore(t, "")
	a := loraOf(t, pefttest.New(1), pefttest.Facts())
	for i := range a.Modules {
		m := &a.Modules[i]
		m.Magnitude = make([]float32, m.Out)
		for k := range m.Magnitude {
			m.Magnitude[k] = 1 + float32(k)/8
		}
	}
	if _, err := s.PutLoRA("dora", a, Note{}); err != nil {
		t.Fatal(err)
	}
	data, _ := export(t, s, "dora", PEFT)
	files := unzip(t, data)
	pefttest.CheckConfig(t, files[peft.ConfigFile])
	if !bytes.Contains(files[peft.ConfigFile], []byte(`"use_dora": true`)) || !bytes.Contains(files[peft.TensorsFile], []byte("q_proj.lora_magnitude_vector")) {
		t.Errorf("%s", files[peft.ConfigFile])
	}
	putParts(t, s, "back", part("back.zip", data))
	got := stored(t, s, "back")
	pefttest.Same(t, got, a)
	for _, m := range a.Modules {
		if !slices.Equal(pefttest.Module(t, got, m.Tensor).Magnitude, m.Magnitude) {
			t.Errorf("%s has other magnitudes", m.Tensor)
		}
	}
	_, err := s.Export(t.Context(), Ref{Name: "dora", Scale: 1}, GGUF)
	pefttest.WantError(t, err, peft.ErrUnsupported, "use_dora", "model.layers.0.mlp.down_proj")
	mustPut(t, s, "plain", pefttest.New(2))
	_, err = s.Merge(t.Context(), "out", Merge{From: []Ref{{Name: "plain", Scale: 1}, {Name: "dora", Scale: 1}}, Options: merge.Options{Method: merge.Cat}})
	pefttest.WantError(t, err, merge.ErrRefused, "from[1].name", `"dora"`, "use_dora")
}

func TestExportRefuses(t *testing.T) {
	s := openStore(t, "")
	mustPut(t, s, "pirate", pefttest.New(1))
	_, err := s.Export(t.Context(), Ref{Name: "pirat", Scale: 1}, PEFT)
	pefttest.WantError(t, err, ErrUnknown, "pirate")
	_, err = s.Export(t.Context(), Ref{Name: "pirate", Scale: 1}, "pickle")
	pefttest.WantError(t, err, peft.ErrFormat, "pickle", "gguf")
	huge := pefttest.New(2)
	huge.Config["lora_alpha"], huge.Config["alpha_pattern"] = 1e30, map[string]any{"q_proj": 1e-30, "k_proj": 1e-30, "v_proj": 1e-30}
	mustPut(t, s, "huge", huge)
	_, err = s.Export(t.Context(), Ref{Name: "huge", Scale: 1}, GGUF)
	if err != nil { // its values underflow at worst; none is made up
		pefttest.WantError(t, err, peft.ErrUnsupported, "scale")
	}
	info, _ := s.Get(Ref{Name: "pirate"})
	path := s.path("versions", info.Digest, peft.TensorsFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)-1] ^= 1
	write(t, path, raw)
	s.versions[info.Digest].verified = false // as after a restart
	for _, f := range []Format{PEFT, GGUF} {
		_, err = s.Export(t.Context(), Ref{Name: "pirate", Scale: 1}, f)
		pefttest.WantError(t, err, ErrDamaged)
	}
	left, _ := os.ReadDir(s.path("tmp"))
	if len(left) > 0 {
		t.Errorf("%d files are left in tmp", len(left))
	}
}

// A folder that a Store has open is read beside it.
func TestExportStored(t *testing.T) {
	s := openStore(t, "")
	first := mustPut(t, s, "pirate", pefttest.New(1))
	mustPut(t, s, "pirate", pefttest.New(2))
	for _, name := range []string{"pirate", "pirate@" + first.Version} {
		for _, f := range []Format{PEFT, GGUF} {
			want, e := export(t, s, name, f)
			ref, _ := ParseRef(name)
			var got bytes.Buffer
			info, _, err := ExportStored(&got, s.o.Dir, ref, f, pefttest.Facts())
			if err != nil || !bytes.Equal(got.Bytes(), want) || info.Digest != e.Info.Digest {
				t.Errorf("%s as %s: %d bytes of %s, want %d: %v", name, f, got.Len(), info.Digest, len(want), err)
			}
		}
	}
	_, _, err := ExportStored(io.Discard, s.o.Dir, Ref{Name: "pirat", Scale: 1}, PEFT, nil)
	pefttest.WantError(t, err, ErrUnknown, "pirate")
	_, _, err = ExportStored(io.Discard, filepath.Join(s.o.Dir, "nowhere"), Ref{Name: "pirate"}, PEFT, nil)
	pefttest.WantError(t, err, os.ErrNotExist, "nowhere")
}
