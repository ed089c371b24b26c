package server

import (
	"net/http"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/openapi"
)

// Files are bounded together, by the program's flags, and a batch needs room for its answers.
func TestFilesAreBounded(t *testing.T) {
	s := openTraining(t, false, func(p *setup) { p.fileBytes = 150 })
	var f openapi.File
	line := requestLine("a", "/v1/completions", `{"prompt":"a","max_tokens":1}`)
	s.ok(s.form("/v1/files", "purpose", "batch", "file:a.jsonl", line), &f)
	for range 2 {
		refused(t, s.form("/v1/files", "purpose", "fine-tune", "file:b.jsonl", strings.Repeat("x", 100)), http.StatusInsufficientStorage, "files_full", "file", "--max-file-data")
	}
	refused(t, s.do("POST", "/v1/batches", `{"input_file_id":"`+f.Id+`","endpoint":"/v1/completions","completion_window":"24h"}`),
		http.StatusInsufficientStorage, "files_full", "input_file_id", "delete some")
	s.ok(s.do("DELETE", "/v1/files/"+f.Id, ""), &struct{}{})
	s.ok(s.form("/v1/files", "purpose", "fine-tune", "file:b.jsonl", strings.Repeat("x", 100)), &f)
}
