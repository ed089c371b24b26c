package graders

import (
	"math"
	"strings"
	"testing"
)

func TestExpressions(t *testing.T) {
	known := map[string]float64{"a": 2, "b_1": 3, "max": 5}
	name := func(s string) bool { _, ok := known[s]; return ok }
	for _, c := range []struct {
		formula string
		want    float64
	}{
		{"a", 2}, {"a + b_1 * 2", 8}, {"(a+b_1)*2", 10}, {"a - b_1 - 1", -2}, {"12 / b_1 / 2", 2}, {"2 ^ b_1 ^ 2", 512}, {"-a ^ 2", -4},
		{"2 ^ -1", 0.5}, {"--a", 2}, {"+a", 2}, {"1e-3 * 1000", 1}, {".5", 0.5}, {"min(a, b_1, 1)", 1}, {"max(a)", 2}, {"max + 1", 6},
		{"abs(-a)", 2}, {"floor(2.5) + ceil(2.5)", 5}, {"exp(0)", 1}, {"sqrt(4)", 2}, {"log(exp(2))", 2}, {" a\n+\tb_1 ", 5},
	} {
		e, err := parseExpression(c.formula, name)
		if err != nil {
			t.Errorf("%s %v", c.formula, err)
			continue
		}
		if got, err := e.value(known); err != nil || math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%s = %v, %v; want %v", c.formula, got, err, c.want)
		}
	}
	for formula, reason := range map[string]string{
		"": "a value is missing", "a +": "a value is missing", "a b_1": "left over", "(a": "a ) is missing", "c": "neither", "sqrt(1, 2)": "2 arguments",
		"sqrt": "neither", "min()": "no value", "1..2": "no number", "a; b": "left over", "__import__('os')": "neither", "a.b": "left over",
		strings.Repeat("(", 100) + "a" + strings.Repeat(")", 100): "levels deep", strings.Repeat("-", 100) + "a": "levels deep",
		strings.Repeat("a+", 600) + "a": "bytes",
	} {
		if _, err := parseExpression(formula, name); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%.40q: %v, want %q", formula, err, reason)
		}
	}
	for _, formula := range []string{"1 / 0", "log(0)", "sqrt(-1)", "0 / 0", "exp(1e9)"} {
		e, err := parseExpression(formula, name)
		if err != nil {
			t.Errorf("%s %v", formula, err)
		} else if x, err := e.value(known); err == nil {
			t.Errorf("%s = %v", formula, x)
		}
	}
}

func FuzzExpression(f *testing.F) {
	for _, s := range []string{"a + 1", "min(a, 2) ^ -3", "((a))", "1e9e9", "a ^ a ^ a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := parseExpression(s, func(name string) bool { return name == "a" })
		if err != nil {
			return
		}
		if x, err := e.value(map[string]float64{"a": 0.5}); err == nil && (math.IsNaN(x) || math.IsInf(x, 0)) {
			t.Errorf("%q = %v", s, x)
		}
	})
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"{{ item.a }}", "{{sample.output_json[0]['x']}} {{ item }}", "{{}}", "{{ item.a[ }}"} {
		f.Add(s, `{"a": [1]}`)
	}
	f.Fuzz(func(t *testing.T, s, text string) {
		p, err := parseTemplate(s)
		if err != nil {
			return
		}
		if out, err := p.render(&Sample{Item: map[string]any{"a": []any{1}}, Text: text}); err == nil && !strings.Contains(s, "{{") && out != s {
			t.Errorf("%q became %q", s, out)
		}
	})
}
