package adapters

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/demo"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// loraConfig is the schema of what save_pretrained of PEFT 0.21.2 writes for a LoraConfig: every field, and the
// JSON types that its annotation allows. It is written down here apart from the code, from LoraConfig itself.
var loraConfig = map[string]string{
	"alora_invocation_tokens": "null array", "alpha_pattern": "object", "arrow_config": "null object", "auto_mapping": "null object",
	"base_model_name_or_path": "null string", "bias": "string", "corda_config": "null object", "ensure_weight_tying": "boolean",
	"eva_config": "null object", "exclude_modules": "null array string", "fan_in_fan_out": "boolean", "inference_mode": "boolean",
	"init_lora_weights": "boolean", "kasa_config": "null object", "layer_replication": "null array", "layers_pattern": "null array string",
	"layers_to_transform": "null array number", "loftq_config": "object", "lora_alpha": "number", "lora_bias": "boolean",
	"lora_dropout": "number", "lora_ga_config": "null object", "megatron_config": "null object", "megatron_core": "string",
	"modules_to_save": "null array", "monteclora_config": "null object", "peft_type": "string", "peft_version": "string",
	"qalora_group_size": "number", "r": "number", "rank_pattern": "object", "revision": "null string", "target_modules": "array string",
	"target_parameters": "null array", "task_type": "null string", "trainable_token_indices": "null array object",
	"use_bdlora": "null object", "use_dora": "boolean", "use_qalora": "boolean", "use_rslora": "boolean", "velora_config": "null object",
}

// checkLoraConfig holds a configuration against the schema.
func checkLoraConfig(t testing.TB, raw []byte) {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	for key := range got {
		if loraConfig[key] == "" {
			t.Errorf("LoraConfig has no %s", key)
		}
	}
	for key, kinds := range loraConfig {
		v, ok := got[key]
		kind := map[bool]string{true: "null"}[v == nil]
		switch v.(type) {
		case string:
			kind = "string"
		case bool:
			kind = "boolean"
		case float64:
			kind = "number"
		case []any:
			kind = "array"
		case map[string]any:
			kind = "object"
		}
		if !ok || !slices.Contains(strings.Fields(kinds), kind) {
			t.Errorf("%s is %v (there: %v), want one of %s", key, v, ok, kinds)
		}
	}
	if got["peft_type"] != "LORA" {
		t.Errorf("peft_type is %v", got["peft_type"])
	}
}

// export returns the bytes of a version.
func export(t testing.TB, s *Store, name string, f Format) ([]byte, *Export) {
	t.Helper()
	ref, err := ParseRef(name)
	if err != nil {
		t.Fatal(err)
	}
	e, err := s.Export(ref, f)
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
	info, err := s.PutUpload(name, parts, Note{Origin: Origin{Kind: FromUpload}})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// odd is an adapter with every field that changes scales or ranks, and what other trainers write.
func odd(t testing.TB) *peftFiles {
	p := newPEFT(7)
	p.add(rand.New(rand.NewPCG(8, 0)), "model.layers.1.mlp.down_proj", 6, testFacts().Targets["blk.1.ffn_down.weight"])
	p.add(rand.New(rand.NewPCG(9, 0)), headModule, 4, testFacts().Targets["output.weight"])
	maps.Copy(p.config, map[string]any{
		"use_rslora": true, "lora_alpha": 12.5, "rank_pattern": map[string]any{`layers\.1\.mlp\.down_proj`: 6},
		"alpha_pattern":  map[string]any{"k_proj": 3},
		"target_modules": []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"},
		"swift_type":     "LORA", "lora_dtype": nil, "init_lora_weights": "eva", "loftq_config": map[string]any{}, "runtime_config": map[string]any{"x": 1},
	})
	return p
}

func TestExportPEFT(t *testing.T) {
	s := openStore(t, "")
	for name, p := range map[string]*peftFiles{"plain": newPEFT(1), "odd": odd(t)} {
		info := mustPut(t, s, name, p)
		data, e := export(t, s, name, PEFT)
		if e.Info.Digest != info.Digest || len(e.Notes) > 0 {
			t.Errorf("%s: exported as %s with notes %q", name, e.Info.Digest, e.Notes)
		}
		files := unzip(t, data)
		if len(files) != 2 {
			t.Errorf("the archive has %d files", len(files))
		}
		checkLoraConfig(t, files[configFile])
		_, want := p.encode(t)
		if !bytes.Equal(tensorBytes(t, files[tensorsFile]), tensorBytes(t, want)) {
			t.Errorf("%s: the tensors are not those that came in", name)
		}
		putParts(t, s, name+"-back", part("back.zip", data))
		sameLoRA(t, stored(t, s, name+"-back"), stored(t, s, name))
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
	tensors, err := ReadTensors(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(tensors, func(a, b Tensor) int { return strings.Compare(a.Name, b.Name) })
	var b bytes.Buffer
	if err := WriteTensors(&b, tensors); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestExportPEFTConfig(t *testing.T) {
	raw, err := exportConfig([]byte(`{"peft_type":"LORA","r":2,"lora_alpha":4,"target_modules":["v_proj","q_proj"],"rank_pattern":null,
		"alpha_pattern":null,"bias":"","layers_pattern":"","init_lora_weights":"gaussian","lora_dropout":0.1,"peft_version":"0.15.0",
		"lora_dtype":"float32","base_model_name_or_path":"org/model"}`))
	if err != nil {
		t.Fatal(err)
	}
	checkLoraConfig(t, raw)
	var got map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{"r": 2.0, "lora_alpha": 4.0, "lora_dropout": 0.1, "peft_version": "0.15.0", "bias": "none",
		"layers_pattern": nil, "init_lora_weights": true, "base_model_name_or_path": "org/model", "task_type": "CAUSAL_LM"} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	if again, err := exportConfig(raw); err != nil || !bytes.Equal(again, raw) {
		t.Errorf("a second export gives %s: %v", again, err)
	}
}

func FuzzExportConfig(f *testing.F) {
	f.Add([]byte(`{"peft_type":"LORA","r":2,"lora_alpha":4,"target_modules":["q_proj"],"rank_pattern":{"k":3},"init_lora_weights":"eva"}`))
	f.Add([]byte(`{"peft_type":"LORA","r":512,"lora_alpha":1e-3,"target_modules":"all-linear","bias":"","loftq_config":null,"use_rslora":true}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		once, err := exportConfig(raw)
		if err != nil {
			return
		}
		twice, err := exportConfig(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%s is exported as %s, and that as %s: %v", raw, once, twice, err)
		}
	})
}

// sameUpTo compares what modules add: Scale * B, which A multiplies.
func sameUpTo(t testing.TB, got, want *runtime.LoRA, tolerance float64) {
	t.Helper()
	for _, w := range want.Modules {
		g := moduleOf(t, got, w.Tensor)
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
	rs := newPEFT(3)
	rs.config["use_rslora"] = true
	for name, c := range map[string]struct {
		p      *peftFiles
		folded int
	}{
		"plain":  {newPEFT(1), 0},
		"rslora": {rs, 0},
		// rank 6 of alpha 12.5/sqrt(6) and alpha 3 of two k_proj differ from 12.5/sqrt(4) of the others.
		"odd": {odd(t), 3},
	} {
		mustPut(t, s, name, c.p)
		data, e := export(t, s, name, GGUF)
		file, err := quant.Read(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		folded, _ := file.Metadata.String(foldKey)
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
			sameLoRA(t, got, want) // bit by bit
		}
		for _, m := range got.Modules {
			if w := moduleOf(t, want, m.Tensor); !strings.Contains(folded, m.Tensor) && (m.Scale != w.Scale || !slices.Equal(m.B, w.B)) {
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
	f := testFacts()
	want := newPEFT(4).lora(t, f)
	putParts(t, s, "in", part("in.gguf", newGGUF(want, 8).encode(t)))
	data, _ := export(t, s, "in", PEFT)
	files := unzip(t, data)
	checkLoraConfig(t, files[configFile])
	_, tensors := newPEFT(4).encode(t) // the rows of q and k in Hugging Face's order again
	if !bytes.Equal(tensorBytes(t, files[tensorsFile]), tensorBytes(t, tensors)) {
		t.Error("the tensors are not those of the same adapter in PEFT's form")
	}
	putParts(t, s, "out", part(configFile, files[configFile]), part(tensorsFile, files[tensorsFile]))
	sameLoRA(t, stored(t, s, "out"), want)
}

func TestExportGGUFEmbeddings(t *testing.T) {
	facts := testFacts()
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
		m, g := a.Modules[i], moduleOf(t, b, a.Modules[i].Tensor)
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
	_, err = s.Export(Ref{Name: "e", Scale: 1}, GGUF)
	wantError(t, err, ErrUnsupported, "output.weight", "llama.cpp")
}

// DoRA leaves as PEFT alone, and comes back.
func TestExportDoRA(t *testing.T) {
	s := openStore(t, "")
	a := newPEFT(1).lora(t, testFacts())
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
	checkLoraConfig(t, files[configFile])
	if !bytes.Contains(files[configFile], []byte(`"use_dora": true`)) || !bytes.Contains(files[tensorsFile], []byte("q_proj.lora_magnitude_vector")) {
		t.Errorf("%s", files[configFile])
	}
	putParts(t, s, "back", part("back.zip", data))
	got := stored(t, s, "back")
	sameLoRA(t, got, a)
	for _, m := range a.Modules {
		if !slices.Equal(moduleOf(t, got, m.Tensor).Magnitude, m.Magnitude) {
			t.Errorf("%s has other magnitudes", m.Tensor)
		}
	}
	_, err := s.Export(Ref{Name: "dora", Scale: 1}, GGUF)
	wantError(t, err, ErrUnsupported, "use_dora", "model.layers.0.mlp.down_proj")
	mustPut(t, s, "plain", newPEFT(2))
	_, err = s.Merge(t.Context(), "out", Merge{From: []Ref{{Name: "plain", Scale: 1}, {Name: "dora", Scale: 1}}, Method: Cat})
	wantError(t, err, ErrMerge, "from[1].name", `"dora"`, "use_dora")
}

func TestExportRefuses(t *testing.T) {
	s := openStore(t, "")
	mustPut(t, s, "pirate", newPEFT(1))
	_, err := s.Export(Ref{Name: "pirat", Scale: 1}, PEFT)
	wantError(t, err, ErrUnknown, "pirate")
	_, err = s.Export(Ref{Name: "pirate", Scale: 1}, "pickle")
	wantError(t, err, ErrFormat, "pickle", "gguf")
	huge := newPEFT(2)
	huge.config["lora_alpha"], huge.config["alpha_pattern"] = 1e30, map[string]any{"q_proj": 1e-30, "k_proj": 1e-30, "v_proj": 1e-30}
	mustPut(t, s, "huge", huge)
	_, err = s.Export(Ref{Name: "huge", Scale: 1}, GGUF)
	if err != nil { // its values underflow at worst; none is made up
		wantError(t, err, ErrUnsupported, "scale")
	}
	info, _ := s.Get(Ref{Name: "pirate"})
	path := s.path("versions", info.Digest, tensorsFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)-1] ^= 1
	write(t, path, raw)
	s.versions[info.Digest].verified = false // as after a restart
	for _, f := range []Format{PEFT, GGUF} {
		_, err = s.Export(Ref{Name: "pirate", Scale: 1}, f)
		wantError(t, err, ErrDamaged)
	}
	left, _ := os.ReadDir(s.path("tmp"))
	if len(left) > 0 {
		t.Errorf("%d files are left in tmp", len(left))
	}
}

// A folder that a Store has open is read beside it.
func TestExportStored(t *testing.T) {
	s := openStore(t, "")
	first := mustPut(t, s, "pirate", newPEFT(1))
	mustPut(t, s, "pirate", newPEFT(2))
	for _, name := range []string{"pirate", "pirate@" + first.Version} {
		for _, f := range []Format{PEFT, GGUF} {
			want, e := export(t, s, name, f)
			ref, _ := ParseRef(name)
			var got bytes.Buffer
			info, _, err := ExportStored(&got, s.o.Dir, ref, f, testFacts())
			if err != nil || !bytes.Equal(got.Bytes(), want) || info.Digest != e.Info.Digest {
				t.Errorf("%s as %s: %d bytes of %s, want %d: %v", name, f, got.Len(), info.Digest, len(want), err)
			}
		}
	}
	_, _, err := ExportStored(io.Discard, s.o.Dir, Ref{Name: "pirat", Scale: 1}, PEFT, nil)
	wantError(t, err, ErrUnknown, "pirate")
	_, _, err = ExportStored(io.Discard, filepath.Join(s.o.Dir, "nowhere"), Ref{Name: "pirate"}, PEFT, nil)
	wantError(t, err, os.ErrNotExist, "nowhere")
}

func TestFactsOfTheDemoBase(t *testing.T) {
	f := demoFacts(t)
	if f.Heads == 0 || f.KVHeads == 0 || f.Layers == 0 || !f.RopeNorm || len(f.Targets) < 7*f.Layers {
		t.Errorf("%+v", f)
	}
	base := demo.Base()
	file, err := quant.Read(bytes.NewReader(base), int64(len(base)))
	if err != nil {
		t.Fatal(err)
	}
	file.Metadata.Set("general.architecture", "mamba")
	_, err = FactsOf(file)
	wantError(t, err, ErrUnsupported, "mamba")
}
