package chat

import "github.com/lorikeet-ai/lorikeet/runtime"

// Effort returns the variables of a template that ask for an effort, such as "low" or "high". "none" turns reasoning off where a
// template can, and other efforts but "minimal" turn it on.
func Effort(effort string) map[string]any {
	variables := map[string]any{"reasoning_effort": effort}
	if effort != "minimal" {
		for _, name := range []string{"enable_thinking", "thinking"} { // templates name it so or so
			variables[name] = effort != "none"
		}
	}
	return variables
}

// KnowsEffort reports whether a conversation is rendered otherwise with an effort than without: whether the template reads any of
// the variables of Effort.
func (t *Template) KnowsEffort() bool {
	messages := []runtime.Message{{Role: "user", Content: "a question"}}
	plain, err := t.Render(messages, Options{AddGenerationPrompt: true})
	if err != nil {
		return false
	}
	for _, effort := range []string{"none", "low", "high"} {
		text, err := t.Render(messages, Options{AddGenerationPrompt: true, Kwargs: Effort(effort)})
		if err == nil && text != plain {
			return true
		}
	}
	return false
}
