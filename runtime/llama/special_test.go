//go:build cgo && linux

package llama

import "testing"

// TestNoBeginningAndNoEnd: a byte-level vocabulary whose file names no BOS and no EOS has none. llama.cpp's default for
// both is token 11, an ordinary one.
func TestNoBeginningAndNoEnd(t *testing.T) {
	for _, named := range []bool{true, false} {
		s := soundModel("llama")
		if !named {
			s.metadata.Delete("tokenizer.ggml.bos_token_id")
			s.metadata.Delete("tokenizer.ggml.eos_token_id")
		}
		data, err := s.encode()
		if err != nil {
			t.Fatal(err)
		}
		m := openModel(t, Options{Bytes: data})
		f := m.Facts()
		if named && (f.BOS != 30 || f.EOS != 31 || f.BOSText != "ex" || f.EOSText != "fx" || !m.EndOfGeneration(31)) {
			t.Errorf("named: %d %q, %d %q", f.BOS, f.BOSText, f.EOS, f.EOSText)
		}
		if !named && (f.BOS != -1 || f.EOS != -1 || f.BOSText != "" || f.EOSText != "" || f.AddBOS) {
			t.Errorf("not named: %d %q, %d %q, added %t", f.BOS, f.BOSText, f.EOS, f.EOSText, f.AddBOS)
		}
		if m.EndOfGeneration(11) {
			t.Errorf("token 11 ends an answer where named is %t", named)
		}
	}
}
