package server

import (
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

func TestTokenizerInfo(t *testing.T) {
	h := open(t, func(p *setup) { p.facts = func(f *runtime.Facts) { f.Tokenizer = "bytes" } })
	var info openapi.TokenizerInfo
	h.get("/tokenizer_info", &info)
	if info.TokenizerClass != "bytes" || *info.BosToken != "<s>" || *info.EosToken != "<|im_end|>" || info.ModelMaxLength != 4096 || !strings.Contains(*info.ChatTemplate, "im_start") {
		t.Errorf("%+v", info)
	}
	var text openapi.Text
	if h.post("/detokenize", `{"tokens":[72,105]}`, &text); text.Prompt != "Hi" || text.Content != "Hi" {
		t.Errorf("%+v", text)
	}
}
