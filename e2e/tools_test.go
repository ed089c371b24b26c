package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Calls that are forced are valid calls of the tools that are allowed, however a model wanders, also where it has never seen a
// tool: the demo's chat template prints none.
func TestForcedCalls(t *testing.T) {
	b := boot(t, "--log-level", "info")
	tools := json.RawMessage(`[
		{"type":"function","function":{"name":"get_weather","description":"tells the weather","parameters":{"type":"object","properties":{
			"city":{"type":"string","maxLength":12},"unit":{"enum":["C","F"]},"days":{"type":"integer"}},"required":["city","unit"],"additionalProperties":false}}},
		{"type":"function","function":{"name":"now"}}]`)
	valid := func(name, arguments string) bool {
		var o map[string]any
		if json.Unmarshal([]byte(arguments), &o) != nil {
			return false
		}
		if name == "now" {
			return len(o) == 0
		}
		city, text := o["city"].(string)
		days, has := o["days"]
		number, isNumber := days.(float64)
		return name == "get_weather" && text && len([]rune(city)) <= 12 && slices.Contains([]any{"C", "F"}, o["unit"]) &&
			(!has || isNumber && number == float64(int64(number))) && len(o) <= 3
	}
	for name, c := range map[string]struct {
		choice any
		only   string
	}{
		"required": {"required", ""},
		"named":    {map[string]any{"type": "function", "function": map[string]any{"name": "get_weather"}}, "get_weather"},
		"allowed": {map[string]any{"type": "allowed_tools", "allowed_tools": map[string]any{"mode": "required",
			"tools": []any{map[string]any{"type": "function", "function": map[string]any{"name": "now"}}}}}, "now"},
	} {
		whole := 0
		for seed := range 6 {
			body := question("What is the weather in Paris?", "temperature", 1.8, "seed", seed, "max_tokens", 200, "tools", tools, "tool_choice", c.choice,
				"parallel_tool_calls", seed%2 == 0)
			status, answer, err := b.post("/v1/chat/completions", body)
			if err != nil || status != 200 {
				t.Fatalf("%s: status %d %s %v", name, status, answer, err)
			}
			var out struct {
				Choices []struct {
					Message struct {
						Content *string
						Calls   []struct {
							Function struct{ Name, Arguments string }
						} `json:"tool_calls"`
					}
					Finish string `json:"finish_reason"`
				}
			}
			if err := json.Unmarshal(answer, &out); err != nil {
				t.Fatal(err)
			}
			choice := out.Choices[0]
			if choice.Finish != "tool_calls" {
				continue // cut off
			}
			whole++
			if len(choice.Message.Calls) == 0 || choice.Message.Content != nil || seed%2 == 1 && len(choice.Message.Calls) > 1 {
				t.Errorf("%s, seed %d: %s", name, seed, answer)
			}
			for _, call := range choice.Message.Calls {
				if f := call.Function; !valid(f.Name, f.Arguments) || c.only != "" && f.Name != c.only {
					t.Error(fmt.Sprintf("%s, seed %d:", name, seed), f.Name, f.Arguments)
				}
			}
		}
		if whole < 3 {
			t.Errorf("%s: %d of 6 answers came to an end", name, whole)
		}
	}
	if log := b.errs.String(); !strings.Contains(log, "the generic format is used for that") {
		t.Errorf("the log does not say that the template prints no tools")
	}
}

// An adapter's own chat template comes with it by every way, and one that cannot be used is refused with its reason.
func TestAdapterTemplate(t *testing.T) {
	folders := t.TempDir()
	folder := filepath.Join(folders, "own")
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(demoAdapters, "pirate"))); err != nil {
		t.Fatal(err)
	}
	write := func(source string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, "chat_template.jinja"), []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("OWN {% for m in messages %}{{ m.content }}{% endfor %}")
	b := boot(t, "--adapter-dir", folders)
	rendered := func(model string) string {
		t.Helper()
		status, answer, err := b.post("/apply-template", question("hello", "model", model))
		var out struct{ Prompt string }
		if err == nil {
			err = json.Unmarshal(answer, &out)
		}
		if err != nil || status != 200 {
			t.Fatalf("%s: status %d %s %v", model, status, answer, err)
		}
		return out.Prompt
	}
	if got := rendered("own"); got != "OWN hello" {
		t.Errorf("the adapter of the folder renders %q", got)
	}
	add := func(name string) (int, string) {
		status, _, errs := command(t, nil, "adapter", "add", name, folder, "--server", b.url())
		return status, errs
	}
	if status, errs := add("sent"); status != 0 || rendered("sent") != "OWN hello" {
		t.Errorf("the uploaded adapter: %s", errs)
	}
	b.mustAsk(question("hello", "model", "sent", "max_tokens", 5))
	write("{% for m in messages %}{{ m.content }}")
	if status, errs := add("bad"); status == 0 || !strings.Contains(errs, "its chat template cannot be used") {
		t.Errorf("a bad template: %d %s", status, errs)
	}
}
