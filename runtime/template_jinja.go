package runtime

import (
	"github.com/nikolalohinski/gonja/v2"
	"github.com/nikolalohinski/gonja/v2/exec"
)

// compileJinja parses source once and returns what renders it.
func compileJinja(f *Facts, source string) (renderer, error) {
	compiled, err := gonja.FromString(source)
	if err != nil {
		return nil, err
	}
	return func(messages []Message, o TemplateOptions) (string, error) {
		list := make([]any, len(messages))
		for i, m := range messages {
			fields := map[string]any{}
			for k, v := range m.Extra {
				fields[k] = v
			}
			fields["role"], fields["content"] = m.Role, m.Content
			list[i] = fields
		}
		vars := map[string]any{"bos_token": f.BOSText, "eos_token": f.EOSText}
		for k, v := range o.Kwargs {
			vars[k] = v
		}
		vars["messages"], vars["tools"], vars["add_generation_prompt"] = list, o.Tools, o.AddGenerationPrompt
		return compiled.ExecuteToString(exec.NewContext(vars))
	}, nil
}
