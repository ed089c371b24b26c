package chat

import (
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// TestKnowsEffort has templates that read one of the variables, or none.
func TestKnowsEffort(t *testing.T) {
	const plain = `{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}`
	for more, want := range map[string]bool{
		"": false, " thinking of {{ messages[0].content }}": false,
		"{% if reasoning_effort is defined %}{{ reasoning_effort }}{% endif %}":                 true,
		"{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}": true,
		"{% if thinking %}<think>{% endif %}":                                                   true,
		"{% if strict_thinking %}<think>{% endif %}":                                            false,
	} {
		m := runtimetest.NewModel()
		m.Facts().ChatTemplate = plain + more
		template := NewTemplate(m, "", nil)
		if reason, yes := template.Fallback(); yes {
			t.Fatalf("%q: %s", more, reason)
		}
		if got := template.KnowsEffort(); got != want {
			t.Errorf("a template with %q: %v", more, got)
		}
	}
}
