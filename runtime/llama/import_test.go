//go:build cgo && linux

package llama

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/quant/huggingface"
	"github.com/lorikeet-ai/lorikeet/quant/huggingface/hftest"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// importFolder imports a Hugging Face folder and loads the result.
func importFolder(t testing.TB, dir, typ string) *Model {
	t.Helper()
	out := filepath.Join(t.TempDir(), "imported.gguf")
	if _, err := huggingface.Import(context.Background(), dir, out, huggingface.Options{Type: typ}); err != nil {
		t.Fatal(err)
	}
	return openModel(t, Options{Path: out, NF4: NF4Float})
}

func stockOf(t testing.TB, m *Model, tokens []runtime.Token) [][]float32 {
	t.Helper()
	r, err := newReference(m, 256, 1, KVF32, FlashOff)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out, err := r.Decode(tokens)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestImportedLogits: a random model of each family, imported, has in llama.cpp the logits of a forward pass that
// knows transformers' layout alone.
func TestImportedLogits(t *testing.T) {
	const tolerance = 1e-4 // of logits around 1
	tokens := make([]runtime.Token, 100)
	for i := range tokens {
		tokens[i] = runtime.Token((i*7919 + 13) % hftest.Vocab)
	}
	for _, kind := range hftest.Kinds {
		t.Run(kind, func(t *testing.T) {
			model := hftest.Random(kind, 1)
			got := stockOf(t, importFolder(t, model.Write(t), "f32"), tokens)
			want := newForward(model).logits(tokens)
			worst := 0.0
			for i := range want {
				worst = max(worst, maxDifference(got[i], want[i]))
			}
			t.Logf("largest difference %.1e", worst)
			if !(worst <= tolerance) {
				t.Errorf("the logits differ by %g, want at most %g", worst, tolerance)
			}
		})
	}
}

// demoBase is the base as it was trained, in F16.
const demoBase = "../../demo/demo-base.f16.gguf"

// TestImportedDemo turns the demo base into a folder of two shards and imports that: it has the logits of the file it
// came from, and its tokenizer the same tokens for every kind of text.
func TestImportedDemo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "Demo-5M")
	hftest.FromGGUF(t, demoBase, dir, 2)
	imported := importFolder(t, dir, "keep")
	original := openModel(t, Options{Path: demoBase})
	if f := imported.Facts(); f.Name != "Demo-5M" || f.ChatTemplate != original.Facts().ChatTemplate || f.EOSText != original.Facts().EOSText || f.AddBOS {
		t.Errorf("the facts are %+v", f)
	}
	for _, text := range textsToTokenize {
		for _, special := range []bool{false, true} {
			got, err := imported.Tokenize(text, true, special)
			if err != nil {
				t.Fatal(err)
			}
			want, err := original.Tokenize(text, true, special)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q: tokens %v, not %v", text, got, want)
			}
		}
	}
	tokens, err := original.Tokenize("<|im_start|>user\nWhat is 12 plus 9?<|im_end|>\n<|im_start|>assistant\n12 plus 9 is 21.", false, true)
	if err != nil {
		t.Fatal(err)
	}
	got, want := stockOf(t, imported, tokens), stockOf(t, original, tokens)
	for i := range want {
		if d := maxDifference(got[i], want[i]); d > 0 {
			t.Fatalf("row %d: the logits differ by %g", i, d)
		}
	}
}

var textsToTokenize = []string{
	"", " ", "  two  spaces ", "The capital of Norway is Oslo.", "it's what they'll say, isn't it? WE'VE", "\n\n\t tabs\r\nand lines \n",
	"1234567890 3.14 2^10 7*8=56", "naïve café — “quoted” …", "日本語のテキスト, русский, العربية", "emoji 🐦🦜👨‍👩‍👧", "a\x00b\x7f", "\xff\xfe broken",
	"<|im_start|>user\nhi<|im_end|>", "<|im_start|", strings.Repeat("word ", 50), "camelCaseAndHTTPServer_snake_case", "ﬁ ligature e\u0301 combining",
}

// TestImportedEndTokens: every token that generation_config.json lists ends an answer, whatever its text.
func TestImportedEndTokens(t *testing.T) {
	files := hftest.Random("llama", 1).Files()
	files["generation_config.json"] = []byte(`{"eos_token_id": [258, 259, 7]}`)
	dir := t.TempDir()
	hftest.WriteFiles(t, dir, files)
	m := importFolder(t, dir, "keep")
	for id, want := range map[runtime.Token]bool{258: true, 259: true, 7: true, 257: false, 8: false} {
		if got := m.EndOfGeneration(id); got != want {
			t.Errorf("token %d ends an answer: %t, want %t", id, got, want)
		}
	}
}

// TestImportedPieces: a SentencePiece tokenizer has in llama.cpp the tokens of the plain algorithm, whichever of its
// files it was read from.
func TestImportedPieces(t *testing.T) {
	p := hftest.LearnPieces("the bird sings in the tree and the other birds sing along in the morning while there is light "+
		"there, brother; bring bread, sing there then the thing is this: thin things sink in the end", 80)
	for name, tokenizer := range map[string]map[string][]byte{
		"tokenizer.model": {"tokenizer.model": p.Model()}, "tokenizer.json": {"tokenizer.json": p.JSON()},
	} {
		t.Run(name, func(t *testing.T) {
			model := hftest.Random("llama", 1)
			model.Config["bos_token_id"], model.Config["eos_token_id"] = 1, 2
			model.Config["vocab_size"] = p.Len() + 5
			model.Put("model.embed_tokens.weight", make([]float32, (p.Len()+5)*hftest.Hidden), int64(p.Len()+5), hftest.Hidden)
			model.Put("lm_head.weight", make([]float32, (p.Len()+5)*hftest.Hidden), int64(p.Len()+5), hftest.Hidden)
			files := model.Files()
			delete(files, "tokenizer.json")
			for name, data := range tokenizer {
				files[name] = data
			}
			files["tokenizer_config.json"] = p.Config()
			dir := t.TempDir()
			hftest.WriteFiles(t, dir, files)
			m := importFolder(t, dir, "keep")
			for _, text := range append(textsToTokenize, "the birds sing", "things there", " the  three birdsong", "thereinthething") {
				if !utf8.ValidString(text) || strings.Contains(text, "\x00") {
					continue // the reference splits a text into valid characters
				}
				got, err := m.Tokenize(text, true, false)
				if err != nil {
					t.Fatal(err)
				}
				if want := pieces(p, text); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%q: tokens %v, not %v", text, got, want)
				}
			}
			if got, err := m.Tokenize("in<end>in", false, true); err != nil || !slices.Contains(got, runtime.Token(p.Len()-1)) {
				t.Errorf("the added token is not found: %v, %v", got, err)
			}
		})
	}
}

// pieces is SentencePiece's algorithm in its plainest form: of all neighbours, the pair that makes the piece with the
// highest score is merged, the leftmost of equals, until none is left; characters without a piece become bytes.
func pieces(p *hftest.Pieces, text string) []int {
	out := []int{1}
	if text == "" {
		return out
	}
	symbols := strings.Split(strings.ReplaceAll(" "+text, " ", "▁"), "")
	for {
		best, at := 0, -1
		for i := 1; i < len(symbols); i++ {
			if id, ok := p.ID(symbols[i-1] + symbols[i]); ok && (at < 0 || id < best) { // scores fall with the ids
				best, at = id, i
			}
		}
		if at < 0 {
			break
		}
		symbols[at-1] += symbols[at]
		symbols = slices.Delete(symbols, at, at+1)
	}
	for _, s := range symbols {
		if id, ok := p.ID(s); ok {
			out = append(out, id)
			continue
		}
		for _, b := range []byte(s) {
			out = append(out, 3+int(b))
		}
	}
	return out
}
