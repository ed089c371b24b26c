package e2e

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
)

//go:embed testdata/clients
var clientScripts embed.FS

// clients are the libraries that people call the server with, each with a script that uses it as its documentation
// shows: only the address, the key and the name of the model are ours. A script fails where an answer is not right.
var clients = []struct {
	script   string
	tested   string // in words, for the README
	packages []string
}{
	{"openai.py", "chat, streams, logprobs, many at once, typed answers with pydantic, tools, models, errors, files, fine-tuning, embeddings, batches", []string{"openai==3.57.0", "pydantic==2.14.4"}},
	{"openai_batches.py", "embeddings in both encodings and of adapters, batches of several adapters, log-probabilities of prompts", []string{"openai==3.57.0"}},
	{"lm_eval.py", "local-completions on a task of its own, with the server's tokenizer", []string{"lm_eval[api]==0.4.13"}},
	{"responses.py", "Responses: whole, streams, kept conversations, typed answers with pydantic, tools, errors", []string{"openai==3.57.0", "pydantic==2.14.4"}},
	{"anthropic.py", "messages, streams, tools, stop sequences, counting tokens, errors", []string{"anthropic==2.14.0"}},
	{"ollama.py", "chat, generate, streams, typed answers, tools, embeddings, lists of models, errors", []string{"ollama==0.6.3"}},
	{"llamaindex.py", "chat, streams, completions", []string{"llama-index-core==0.14.25", "llama-index-llms-openai-like==0.8.1"}},
	{"litellm.py", "chat, streams, tools, Responses, embeddings, errors; as OpenAI's, Anthropic's and Ollama's API", []string{"litellm==1.110.2"}},
	{"huggingface.py", "chat, streams, tools, typed answers; with and without a model", []string{"huggingface_hub==2.4.0"}},
	{"langchain.py", "chat, streams, typed answers with pydantic, tools, embeddings; as OpenAI's two APIs, Anthropic's and Ollama's",
		[]string{"langchain-openai==1.7.4", "langchain-anthropic==1.7.10", "langchain-ollama==1.1.0"}},
	{"openai_agents.py", "agents, streams, typed answers, tools that must be called, reasoning; with chat and with Responses", []string{"openai-agents==0.24.0"}},
	{"pydantic_ai.py", "chat, streams, typed answers, tools, errors; as OpenAI's two APIs and Anthropic's", []string{"pydantic-ai-slim[openai,anthropic]==2.68.0"}},
	{"instructor.py", "typed answers by tools and by schemas, whole and in pieces", []string{"instructor==1.17.0"}},
	{"openai.mjs", "chat, streams, typed answers with zod, tools with runTools, models, errors, files, fine-tuning, embeddings, batches", []string{"openai@7.59.0", "zod@4.6.7"}},
	{"responses.mjs", "Responses: whole, streams, kept conversations, typed answers with zod, tools, errors", []string{"openai@7.59.0", "zod@4.6.7"}},
	{"ai.mjs", "the default mode: text, streams, typed answers with zod, tools over several steps, embeddings, errors", []string{"ai@7.0.173", "@ai-sdk/openai@4.0.118", "zod@4.6.7"}},
	{"openai.go", "chat, streams, typed answers, tools, Responses, embeddings, models, errors", []string{"github.com/openai/openai-go/v3@v3.99.0", "github.com/sashabaranov/go-openai@v1.43.0"}},
	{"anthropic.mjs", "messages, streams with all their events, tools, counting tokens, errors", []string{"@anthropic-ai/sdk@1.14.0"}},
	{"ollama.mjs", "chat, generate, streams, embeddings, lists of models, errors", []string{"ollama@0.6.4"}},
	{"langchain.mjs", "chat, streams, batches, typed answers with zod, tools", []string{"@langchain/openai@1.6.0", "@langchain/core@1.4.0", "zod@4.6.7"}},
}

// TestClients runs the scripts against one server with an API key.
func TestClients(t *testing.T) {
	b := boot(t, "--adapter-dir", demoAdapters, "--api-key", "sesame")
	for _, client := range clients {
		t.Run(client.script, func(t *testing.T) { runClient(t, b.url(), client.script, client.packages) })
	}
	t.Run("all are run", func(t *testing.T) {
		scripts, err := clientScripts.ReadDir("testdata/clients")
		if err != nil || len(scripts) != len(clients) {
			t.Errorf("there are %d scripts, and %d are run: %v", len(scripts), len(clients), err)
		}
	})
}

func runClient(t *testing.T, url, script string, packages []string) {
	text, err := clientScripts.ReadFile("testdata/clients/" + script)
	if err != nil {
		t.Fatal(err)
	}
	var program, dir string
	var args []string
	switch filepath.Ext(script) {
	case ".py":
		program, dir, args = testtools.Python(t, packages...), t.TempDir(), []string{"-"}
	case ".mjs":
		program, dir = testtools.Node(t, packages...)
		args = []string{"--input-type=module", "-"} // in the folder of node_modules
	case ".go":
		program = testtools.Go(t, string(text), packages...)
	}
	dataset, err := filepath.Abs("demo/data/support.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(text)
	cmd.Env = append(os.Environ(), "LORIKEET_URL="+url, "LORIKEET_API_KEY=sesame", "DATASET="+dataset)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestClientTable holds the README's table against the list.
func TestClientTable(t *testing.T) {
	languages := map[string]string{".py": "Python", ".mjs": "Node", ".go": "Go"}
	table := "| client | version | what is tested |\n|---|---|---|\n"
	for _, client := range clients {
		var names, versions []string
		for _, p := range client.packages {
			i := max(strings.LastIndex(p, "@"), strings.LastIndex(p, "="))
			names = append(names, "`"+strings.TrimRight(p[:i], "=")+"`")
			versions = append(versions, strings.TrimPrefix(p[i+1:], "v"))
		}
		table += fmt.Sprintf("| %s (%s) | %s | %s |\n", strings.Join(names, ", "), languages[filepath.Ext(client.script)], strings.Join(versions, ", "), client.tested)
	}
	testtools.CheckSection(t, "README.md", "clients", table)
}
