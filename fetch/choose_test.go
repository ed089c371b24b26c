package fetch

import (
	"errors"
	"path"
	"strings"
	"testing"
)

// names makes a listing.
func names(text string) (files []entry) {
	for name := range strings.FieldsSeq(text) {
		files = append(files, entry{Path: name, Size: 1})
	}
	return files
}

// choice writes what was selection as a line: where it is and its files.
func choice(c selection, err error) string {
	if err != nil {
		return err.Error()
	}
	line := c.main
	if c.isFolder {
		line = "folder " + path.Clean(c.main)
	}
	for _, f := range c.files {
		line += " " + f.Path
	}
	return line
}

func TestChooseModel(t *testing.T) {
	const (
		single = "README.md m-Q4_K_M.gguf mmproj-m-f16.gguf m-imatrix.gguf"
		many   = "m-Q4_K_M.gguf m-Q4_K_S.gguf m-q8_0.gguf m-UD-Q4_K_XL.gguf BF16/m-BF16-00001-of-00002.gguf BF16/m-BF16-00002-of-00002.gguf"
		folder = "config.json generation_config.json model-00002-of-00002.safetensors model-00001-of-00002.safetensors model.safetensors.index.json " +
			"tokenizer.json tokenizer_config.json chat_template.jinja pytorch_model.bin consolidated.safetensors original/params.json README.md training_args.bin"
		shards = "config.json generation_config.json model-00002-of-00002.safetensors model-00001-of-00002.safetensors model.safetensors.index.json " +
			"tokenizer.json tokenizer_config.json chat_template.jinja"
	)
	for _, test := range []struct{ files, src, want string }{
		{single, "", "m-Q4_K_M.gguf m-Q4_K_M.gguf"},
		{single, "/m-Q4_K_M.gguf", "m-Q4_K_M.gguf m-Q4_K_M.gguf"},
		{single, "/mmproj-m-f16.gguf", "mmproj-m-f16.gguf mmproj-m-f16.gguf"},
		{single, ":q4_k_m", "m-Q4_K_M.gguf m-Q4_K_M.gguf"},
		{single, ":q4_k", "has no GGUF file of type q4_k; it has m-Q4_K_M.gguf"},
		{single, "/README.md", "is neither a GGUF file nor one of safetensors"},
		{single, "/nothing.gguf", `has no "nothing.gguf"`},
		{many, "", "has 4 GGUF files; name one of them as hf://o/r/FILE: m-Q4_K_M.gguf, m-Q4_K_S.gguf, m-q8_0.gguf, m-UD-Q4_K_XL.gguf"},
		{many, ":Q8_0", "m-q8_0.gguf m-q8_0.gguf"},
		{many, ":bf16", "BF16/m-BF16-00001-of-00002.gguf BF16/m-BF16-00001-of-00002.gguf BF16/m-BF16-00002-of-00002.gguf"},
		{many, "/BF16", "BF16/m-BF16-00001-of-00002.gguf BF16/m-BF16-00001-of-00002.gguf BF16/m-BF16-00002-of-00002.gguf"},
		{many, "/BF16/m-BF16-00002-of-00002.gguf", "BF16/m-BF16-00001-of-00002.gguf BF16/m-BF16-00001-of-00002.gguf BF16/m-BF16-00002-of-00002.gguf"},
		{"m-00001-of-00003.gguf m-00003-of-00003.gguf", "", "is one of 3 parts, and 2 of them are there"},
		{folder, "", "folder . " + shards},
		{folder, "/model-00001-of-00002.safetensors", "folder . " + shards},
		{folder, "/config.json", "folder . " + shards},
		{"sub/config.json sub/model.safetensors tokenizer.json", "/sub", "folder sub sub/config.json sub/model.safetensors"},
		{"model.safetensors", "", "has no config.json"},
		{"config.json pytorch_model.bin", "", "Python pickles"},
		{"adapter_config.json adapter_model.safetensors", "", "is an adapter, not a base model"},
		{"README.md", "", "has neither a GGUF file nor model*.safetensors; it has README.md"},
		{"", "", "it has none"},
	} {
		src, err := Parse("hf://o/r" + test.src)
		if err != nil {
			t.Fatal(err)
		}
		c, err := chooseModel(names(test.files), src)
		if got := choice(c, err); got != test.want && (err == nil || !strings.Contains(got, test.want)) {
			t.Errorf("%s of %q:\n got %s\nwant %s", test.src, test.files, got, test.want)
		}
		if err != nil && !errors.Is(err, ErrContent) && !errors.Is(err, ErrNotFound) {
			t.Errorf("%v", err)
		}
	}
}

func TestChooseAdapter(t *testing.T) {
	const peft = "adapter_config.json adapter_model.safetensors README.md tokenizer.json"
	for _, test := range []struct{ files, src, want string }{
		{peft, "", "folder . adapter_config.json adapter_model.safetensors"},
		{peft, "/adapter_config.json", "folder . adapter_config.json adapter_model.safetensors"},
		{peft + " chat_template.jinja additional_chat_templates/tool_use.jinja additional_chat_templates/rag.jinja", "",
			"folder . adapter_config.json adapter_model.safetensors chat_template.jinja additional_chat_templates/tool_use.jinja"},
		{"a/adapter_config.json a/adapter_model.safetensors b/adapter_config.json", "/a", "folder a a/adapter_config.json a/adapter_model.safetensors"},
		{"a/adapter_config.json a/adapter_model.safetensors b/adapter_config.json", "", "nor a GGUF file; there is one in a, b"},
		{"lora.gguf README.md", "", "lora.gguf lora.gguf"},
		{"x.gguf y.gguf", "", "has 2 GGUF files; name one of them: x.gguf, y.gguf"},
		{"x-f16.gguf y-q8_0.gguf", ":f16", "x-f16.gguf x-f16.gguf"},
		{"x.gguf y.gguf", "/y.gguf", "y.gguf y.gguf"},
		{"x.tar.gz", "/x.tar.gz", "x.tar.gz x.tar.gz"},
		{"x.txt", "/x.txt", "is not an adapter"},
		{"x.txt", "/y", `has no "y"`},
		{"adapter_config.json adapter_model.bin", "", "Python pickle"},
		{"adapter_config.json", "", "has adapter_config.json and no adapter_model.safetensors"},
		{"model.safetensors", "", "has no adapter"},
	} {
		src, err := Parse("hf://o/r" + test.src)
		if err != nil {
			t.Fatal(err)
		}
		c, err := chooseAdapter(names(test.files), src)
		if got := choice(c, err); got != test.want && (err == nil || !strings.Contains(got, test.want)) {
			t.Errorf("%s of %q:\n got %s\nwant %s", test.src, test.files, got, test.want)
		}
	}
}

// TestSums compares each kind of sum with its published check value, that of "123456789".
func TestSums(t *testing.T) {
	for _, s := range []sum{
		{crc32cSum, "e3069283"}, {crc64Sum, "ae8b14860a799888"}, {md5Sum, "25f9e794323b453885f5181f1b624d0b"},
		{sha256Sum, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"}, {blobSum, blobID([]byte("123456789"))},
	} {
		h := s.hash(9)
		h.Write([]byte("123456789"))
		if err := (content{name: "x", size: 9, sum: s}).check(h); err != nil {
			t.Error(err)
		}
		h.Write([]byte("0"))
		if err := (content{name: "x", size: 9, sum: s}).check(h); !errors.Is(err, ErrChecksum) {
			t.Errorf("%s: %v", s.kind, err)
		}
	}
}
