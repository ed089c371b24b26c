package peft

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
)

// This file matches module paths ("model.layers.0.self_attn.q_proj") as PEFT does.
// Source: github.com/huggingface/peft, get_pattern_key and check_target_module_exists.

// patterns are rank_pattern or alpha_pattern: the first that matches decides.
type patterns[T any] []pattern[T]

// pattern is one key, matched with the whole of a module's path or with its tail after a dot. A key without
// other marks than dots, which is what PEFT writes for every module of a model, needs no regular expression.
type pattern[T any] struct {
	key   string
	plain string
	expr  *regexp.Regexp // where plain is ""
	value T
}

// find returns the value of the first pattern that matches the module's path.
func (p patterns[T]) find(module string, otherwise T) T {
	for i := range p {
		if p[i].match(module) {
			return p[i].value
		}
	}
	return otherwise
}

// unmatched returns the key of the first pattern that matches none of the modules' paths.
func (p patterns[T]) unmatched(modules []string) (key string, found bool) {
	for i := range p {
		if !slices.ContainsFunc(modules, p[i].match) {
			return p[i].key, true
		}
	}
	return "", false
}

// shadowed returns the key of the first pattern that decides nothing, because earlier ones match all of its modules first.
func (p patterns[T]) shadowed(modules []string) (key string, found bool) {
	decides := make([]bool, len(p))
	for _, module := range modules {
		if i := slices.IndexFunc(p, func(one pattern[T]) bool { return one.match(module) }); i >= 0 {
			decides[i] = true
		}
	}
	if i := slices.Index(decides, false); i >= 0 {
		return p[i].key, true
	}
	return "", false
}

func (p *pattern[T]) match(module string) bool {
	if p.plain == "" {
		return p.expr.MatchString(module)
	}
	at := len(module) - len(p.plain)
	if at < 0 || at > 0 && module[at-1] != '.' {
		return false
	}
	for i := len(p.plain) - 1; i >= 0; i-- {
		if c := p.plain[i]; c != module[at+i] && c != '.' {
			return false
		}
	}
	return true
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

func parsePatterns[T any](v json.RawMessage, x *expressions, value func(json.RawMessage) (T, error)) (patterns[T], error) {
	if isNeutral(v) {
		return nil, nil
	}
	members, err := parseObject(v)
	if err != nil {
		return nil, &wrongValue{"an object of module names: " + err.Error()}
	}
	p := make(patterns[T], len(members))
	for i, m := range members {
		p[i].key = m.key
		if plainKey.MatchString(m.key) {
			p[i].plain = m.key
		} else if p[i].expr, err = x.compile(`^(?:.*\.)?(?:` + m.key + `)$`); err != nil {
			return nil, fmt.Errorf("has the key %q: %w", clip([]byte(m.key)), err)
		}
		if p[i].value, err = value(m.value); err != nil {
			return nil, fmt.Errorf("%q %w", m.key, err)
		}
	}
	return p, nil
}

// expressions bounds what all regular expressions of a configuration take together.
type expressions struct{ cost int }

// maxExpressions is about the number of instructions all expressions may compile to; a counted repetition
// multiplies what it repeats by up to 1000.
const maxExpressions = 2_000_000

// compile refuses what Go's expressions do not have: they cannot be made to run for ever.
func (x *expressions) compile(expr string) (*regexp.Regexp, error) {
	cost := len(expr)
	if strings.Contains(expr, "{") {
		cost *= 1000
	}
	if x.cost += cost; x.cost > maxExpressions {
		return nil, errors.New("the regular expressions are too large")
	}
	re, err := regexp.Compile(expr)
	if s := new(syntax.Error); errors.As(err, &s) {
		return nil, fmt.Errorf("the regular expression cannot be used here: %s", s.Code)
	}
	return re, err
}

// targets says which modules of the base carry a LoRA.
type targets struct {
	all     bool // "all-linear": every linear but the output head
	include moduleSet
	exclude moduleSet

	layers   []int            // layers_to_transform; none: all
	inLayers []*regexp.Regexp // find the layer's index in a path; the first that matches decides
}

// anyLayer finds the index where layers_pattern is not given.
var anyLayer = regexp.MustCompile(`^.*\.[^.]*\.(\d+)\.`)

func (t *targets) field(m member, x *expressions) (err error) {
	if isNeutral(m.value) && m.key != "layers_to_transform" {
		return nil
	}
	switch m.key {
	case "target_modules":
		if string(m.value) == `"all-linear"` {
			t.all = true
			return nil
		}
		t.include, err = parseModules(m.value, x)
	case "exclude_modules":
		t.exclude, err = parseModules(m.value, x)
	case "layers_to_transform":
		t.layers, err = parseLayers(m.value)
	case "layers_pattern":
		var list []string
		if list, err = parseAs[[]string](oneOrMany(m.value), "a string or a list of strings"); err != nil {
			return err
		}
		for _, s := range list {
			re, err := x.compile(`^.*\.(?:` + s + `)\.(\d+)\.`)
			if err != nil {
				return err
			}
			t.inLayers = append(t.inLayers, re)
		}
	}
	return err
}

// moduleSet is a list of module paths or their tails, or a regular expression of the whole path.
type moduleSet struct {
	names map[string]bool
	expr  *regexp.Regexp
}

func parseModules(v json.RawMessage, x *expressions) (moduleSet, error) {
	if v[0] != '"' {
		list, err := parseAs[[]string](v, "a list of module names or a string")
		set := moduleSet{names: make(map[string]bool, len(list))}
		for _, n := range list {
			set.names[n] = true
		}
		return set, err
	}
	s, err := parseAs[string](v, "a string")
	if err != nil {
		return moduleSet{}, err
	}
	re, err := x.compile(`^(?:` + s + `)$`)
	if err != nil {
		return moduleSet{}, fmt.Errorf("is %s: %w", clip(v), err)
	}
	return moduleSet{expr: re}, nil
}

// has reports whether the expression matches the path, or one of the names is the path or its tail after a dot.
func (s *moduleSet) has(module string) bool {
	if s.expr != nil {
		return s.expr.MatchString(module)
	}
	for tail, more := module, true; more; _, tail, more = strings.Cut(tail, ".") {
		if s.names[tail] {
			return true
		}
	}
	return false
}

func parseLayers(v json.RawMessage) ([]int, error) {
	if string(v) == "null" {
		return nil, nil
	}
	return parseAs[[]int](oneOrMany(v), "a layer's index or a list of them")
}

// oneOrMany makes a list of a single value.
func oneOrMany(v json.RawMessage) json.RawMessage {
	if v[0] == '[' {
		return v
	}
	return slices.Concat(json.RawMessage("["), v, json.RawMessage("]"))
}

// match reports whether the configuration puts a LoRA on the module.
func (t *targets) match(module string) bool {
	switch {
	case t.exclude.has(module):
		return false
	case t.all:
		return module != headModule && module != embeddingModule
	case t.include.expr != nil || t.include.names[module]: // layers_to_transform is for tails only
		return t.include.has(module)
	}
	return t.include.has(module) && t.inLayer(module)
}

// inLayer reports whether layers_to_transform allows the module.
func (t *targets) inLayer(module string) bool {
	if len(t.layers) == 0 {
		return true
	}
	finders := t.inLayers
	if len(finders) == 0 {
		finders = []*regexp.Regexp{anyLayer}
	}
	for _, f := range finders {
		if m := f.FindStringSubmatch(module); m != nil {
			n, err := strconv.Atoi(m[1])
			return err == nil && slices.Contains(t.layers, n)
		}
	}
	return false
}
