package server

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// The server's own work for a request of 16 tokens, from 8 clients at once: compare with BenchmarkEngine,
// which asks the engine for the same.
func BenchmarkRequest(b *testing.B) {
	for name, fields := range map[string]string{"whole": `"max_tokens":16,"ignore_eos":true`, "stream": `"max_tokens":16,"ignore_eos":true,"stream":true`} {
		b.Run(name, func(b *testing.B) {
			h := open(b)
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
			defer client.CloseIdleConnections()
			b.SetParallelism(4)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r, err := client.Post(h.url+"/v1/chat/completions", "application/json", strings.NewReader(chatBody("hello", fields)))
					if err != nil {
						b.Error(err)
						return
					}
					io.Copy(io.Discard, r.Body)
					r.Body.Close()
				}
			})
		})
	}
}

// BenchmarkEngine is BenchmarkRequest without the server.
func BenchmarkEngine(b *testing.B) {
	h := open(b)
	b.SetParallelism(4)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			tokens, err := h.server.template.Tokenize([]runtime.Message{{Role: "user", Content: "hello"}}, chat.Options{AddGenerationPrompt: true})
			if err != nil {
				b.Error(err)
				return
			}
			s, err := h.engine.Submit(b.Context(), runtime.Request{Prompt: tokens, MaxTokens: 16, Top: -1, Sampling: runtime.Sampling{Temperature: 1, IgnoreEOS: true}})
			if err != nil {
				b.Error(err)
				return
			}
			if _, err := collect(b.Context(), s, &partReader{}, false); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkDecode is what checking a request costs before it reaches the engine.
func BenchmarkDecode(b *testing.B) {
	h := open(b)
	body := []byte(chatBody("hello", `"max_tokens":16,"temperature":0.7,"stop":["x","y"],"stream":true,"seed":7`))
	b.ReportAllocs()
	for b.Loop() {
		r, err := h.server.chatReply(caller{}, body)
		if err != nil {
			b.Fatal(err)
		}
		r.close()
	}
}

// BenchmarkChunk is what one token of a stream costs besides sending it.
func BenchmarkChunk(b *testing.B) {
	r := &reply{generation: generation{top: -1}, id: newID("chatcmpl-"), model: &model{name: "fake", label: openapi.AnsweredBy("null")}}
	r.form = &chatForm{reply: r}
	e := &streamWriter{reply: r, readers: make([]partReader, 1), opened: []bool{true}}
	e.buf = r.begin(e.buf, r)
	it := item{event: runtime.Event{Text: " word"}}
	b.ReportAllocs()
	for b.Loop() {
		if err := e.put(it); err != nil {
			b.Fatal(err)
		}
		e.buf = e.buf[:0]
	}
}
