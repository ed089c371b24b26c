package chat

import (
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// A template of a stranger that is slow is refused in bounded time, and one that cannot be used with its reason.
func TestOther(t *testing.T) {
	base := NewTemplate(testModel(), "{{ messages[0].content }}", func(s string) { t.Error(s) })
	if same, err := base.Other(base.Source(), ""); same != base || err != nil {
		t.Errorf("%v, %v", same, err)
	}
	other, err := base.Other("-{{ messages[0].content }}", "")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := other.Render([]runtime.Message{{Role: "user", Content: "a"}}, Options{}); text != "-a" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	for sources, want := range map[[2]string]string{{"+", "t"}: "+t", {"", "t"}: "at", {"+", ""}: "++", {"", ""}: "a."} {
		other, err := base.Other(sources[0], sources[1])
		if err != nil {
			t.Fatal(err)
		}
		without, _ := other.Render([]runtime.Message{{Role: "user", Content: "a"}}, Options{})
		with, err := other.Render([]runtime.Message{{Role: "user", Content: "a"}}, Options{Tools: probeToolList})
		if text := without + string(with[len(with)-1]); text != want || err != nil {
			t.Errorf("%q: %q, %v", sources, text, err)
		}
	}
	if _, err := base.Other("", "{% for %}"); err == nil || !strings.Contains(err.Error(), "tool_use: ") {
		t.Error(err)
	}
	for source, want := range map[string]string{
		"{% for %}": "for",
		"{% for i in range(700) %}{% for j in range(700) %}{% endfor %}{% endfor %}{% for i in range(100000) %}{% endfor %}{{ messages[0].content }}": "took",
	} {
		start := time.Now()
		if _, err := base.Other(source, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", source, err, want)
		}
		if took := time.Since(start); took > 4*maxTime {
			t.Errorf("%s took %v", source, took)
		}
	}
}
