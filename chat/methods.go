package chat

import (
	"errors"
	"strings"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/exec"
	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// stringMethods are Python's str methods. gonja's own differ where it counts (rstrip() leaves line ends,
// replace() wants a count), so the common ones are here and only the rare ones are gonja's.
func stringMethods(b *budget) map[string]exec.Method[string] {
	methods := map[string]exec.Method[string]{}
	for _, name := range []string{"capitalize", "casefold", "center", "expandtabs", "isalnum", "isalpha", "isdecimal", "isdigit",
		"islower", "isnumeric", "isspace", "istitle", "isupper", "ljust", "partition", "rfind", "rjust", "rpartition", "swapcase", "title", "zfill"} {
		if m, ok := builtins.Methods.Str.Get(name); ok {
			methods[name] = m
		}
	}
	own := map[string]func(s string, args *exec.VarArgs) (any, error){
		"strip":  func(s string, a *exec.VarArgs) (any, error) { return strip(s, argument(a, 0, ""), true, true), nil },
		"lstrip": func(s string, a *exec.VarArgs) (any, error) { return strip(s, argument(a, 0, ""), true, false), nil },
		"rstrip": func(s string, a *exec.VarArgs) (any, error) { return strip(s, argument(a, 0, ""), false, true), nil },
		"upper":  func(s string, _ *exec.VarArgs) (any, error) { return upper(s), nil },
		"lower":  func(s string, _ *exec.VarArgs) (any, error) { return lower(s), nil },
		"startswith": func(s string, a *exec.VarArgs) (any, error) {
			return anyAffix(a, func(affix string) bool { return strings.HasPrefix(s, affix) })
		},
		"endswith": func(s string, a *exec.VarArgs) (any, error) {
			return anyAffix(a, func(affix string) bool { return strings.HasSuffix(s, affix) })
		},
		"removeprefix": func(s string, a *exec.VarArgs) (any, error) { return strings.TrimPrefix(s, a.First().String()), nil },
		"removesuffix": func(s string, a *exec.VarArgs) (any, error) { return strings.TrimSuffix(s, a.First().String()), nil },
		"replace":      func(s string, a *exec.VarArgs) (any, error) { return replace(b, s, a) },
		"split":        split,
		"rsplit":       rsplit,
		"splitlines":   splitlines,
		"join": func(s string, a *exec.VarArgs) (any, error) {
			parts := []string{}
			for _, e := range elements(a.First()) {
				parts = append(parts, b.print(e))
			}
			b.repeat(len(s), len(parts)-1)
			return strings.Join(parts, s), nil
		},
		"format": func(s string, a *exec.VarArgs) (any, error) {
			checkFormat(b, s, a)
			format, _ := builtins.Methods.Str.Get("format")
			return format(s, exec.AsValue(s), a)
		},
		"count": func(s string, a *exec.VarArgs) (any, error) { return strings.Count(s, a.First().String()), nil },
		"find":  func(s string, a *exec.VarArgs) (any, error) { return runeIndex(s, a.First().String()), nil },
		"index": func(s string, a *exec.VarArgs) (any, error) {
			if i := runeIndex(s, a.First().String()); i >= 0 {
				return i, nil
			}
			return nil, errors.New("substring not found")
		},
	}
	for name, f := range own {
		methods[name] = func(s string, _ *exec.Value, args *exec.VarArgs) (any, error) { return f(s, args) }
	}
	return meteredMethods(b, methods)
}

// meteredMethods makes methods spend from the budget.
func meteredMethods(b *budget, methods map[string]exec.Method[string]) map[string]exec.Method[string] {
	for name, f := range methods {
		methods[name] = func(s string, v *exec.Value, args *exec.VarArgs) (any, error) {
			if err := checkArguments(name, args); err != nil {
				return nil, err
			}
			b.step(1 + len(s)/1024)
			if name == "expandtabs" {
				b.repeat(argumentOr(args, 0, "tabsize", 8), strings.Count(s, "\t"))
			}
			result, err := f(s, v, args)
			_ = b.chargeResult(exec.AsValue(result)) // which is the same value
			return result, err
		}
	}
	return methods
}

// argumentOr is an integer argument.
func argumentOr(args *exec.VarArgs, i int, name string, standard int) int {
	if a := argument(args, i, name); a != nil {
		return a.Integer()
	}
	return standard
}

// listMethods are Python's list methods that do not change the list: transformers' sandbox has no others.
func listMethods(b *budget) map[string]exec.Method[[]any] {
	return map[string]exec.Method[[]any]{
		"copy": func(_ []any, v *exec.Value, _ *exec.VarArgs) (any, error) {
			b.chargeTraversal(v)
			return toList(elements(v)).Interface(), nil
		},
		"count": func(_ []any, v *exec.Value, args *exec.VarArgs) (any, error) {
			return len(equalTo(b, v, args.First())), nil
		},
		"index": func(_ []any, v *exec.Value, args *exec.VarArgs) (any, error) {
			if at := equalTo(b, v, args.First()); len(at) > 0 {
				return at[0], nil
			}
			return nil, errors.New("the list does not have the value that index() looks for")
		},
	}
}

// equalTo returns the positions of the elements that equal a value.
func equalTo(b *budget, v, wanted *exec.Value) (at []int) {
	for i, e := range elements(v) {
		b.chargeTraversal(e)
		if e.EqualValueTo(wanted) {
			at = append(at, i)
		}
	}
	return at
}

// dictMethods are Python's dict methods that do not change the dict: transformers' sandbox has no others.
func dictMethods(b *budget) map[string]exec.Method[map[string]any] {
	methods := map[string]exec.Method[map[string]any]{}
	for name, f := range map[string]func(v *exec.Value, args *exec.VarArgs) (any, error){
		"items": func(v *exec.Value, _ *exec.VarArgs) (any, error) { return pairsOf(v), nil },
		"keys":  func(v *exec.Value, _ *exec.VarArgs) (any, error) { return toList(elements(v)), nil },
		"values": func(v *exec.Value, _ *exec.VarArgs) (any, error) {
			out := list{}
			for _, p := range items(v) {
				out = append(out, p.Value)
			}
			return out, nil
		},
		"copy": func(v *exec.Value, _ *exec.VarArgs) (any, error) { return v.Interface(), nil },
		"get": func(v *exec.Value, args *exec.VarArgs) (any, error) {
			for _, p := range items(v) {
				if p.Key.EqualValueTo(args.First()) {
					return p.Value, nil
				}
			}
			if fallback := argument(args, 1, "default"); fallback != nil {
				return fallback, nil
			}
			return none{}, nil
		},
	} {
		methods[name] = func(_ map[string]any, v *exec.Value, args *exec.VarArgs) (any, error) {
			b.chargeTraversal(v)
			result, err := f(v, args)
			if value, ok := result.(*exec.Value); ok {
				result = value.Interface()
			}
			return result, err
		}
	}
	return methods
}

// upper and lower are Python's, which may make a text longer: "ß" becomes "SS".
func upper(s string) string { return cases.Upper(language.Und).String(s) }
func lower(s string) string { return cases.Lower(language.Und).String(s) }

// strip is str.strip: the characters of chars, or white space where it is nil or None.
func strip(s string, chars *exec.Value, left, right bool) string {
	cut := pythonSpace
	if chars != nil && chars.IsString() {
		set := chars.String()
		cut = func(r rune) bool { return strings.ContainsRune(set, r) }
	}
	if left {
		s = strings.TrimLeftFunc(s, cut)
	}
	if right {
		s = strings.TrimRightFunc(s, cut)
	}
	return s
}

// anyAffix applies has to the first argument, which is a string or a tuple of them.
func anyAffix(args *exec.VarArgs, has func(string) bool) (any, error) {
	first := args.First()
	if first.IsString() {
		return has(first.String()), nil
	}
	for _, e := range elements(first) {
		if has(e.String()) {
			return true, nil
		}
	}
	return false, nil
}

func replace(b *budget, s string, args *exec.VarArgs) (any, error) {
	if len(args.Args) < 2 {
		return nil, errors.New("replace takes the old and the new text")
	}
	count := -1
	if a := argument(args, 2, "count"); a != nil {
		count = a.Integer()
	}
	b.repeat(len(args.Args[1].String()), strings.Count(s, args.Args[0].String()))
	return strings.Replace(s, args.Args[0].String(), args.Args[1].String(), count), nil
}

// split is str.split(sep, maxsplit); without sep it splits at runs of white space.
func split(s string, args *exec.VarArgs) (any, error) {
	count := -1
	if a := argument(args, 1, "maxsplit"); a != nil && a.Integer() >= 0 {
		count = a.Integer() + 1
	}
	separator := argument(args, 0, "sep")
	if separator != nil && separator.IsString() {
		if separator.String() == "" {
			return nil, errors.New("split has an empty separator")
		}
		return stringList(strings.SplitN(s, separator.String(), count)), nil
	}
	out := []string{}
	for s = strings.TrimLeftFunc(s, pythonSpace); s != ""; s = strings.TrimLeftFunc(s, pythonSpace) {
		end := strings.IndexFunc(s, pythonSpace)
		if end < 0 || len(out)+1 == count {
			out = append(out, strings.TrimRightFunc(s, pythonSpace))
			break
		}
		out = append(out, s[:end])
		s = s[end:]
	}
	return stringList(out), nil
}

// rsplit is str.rsplit(sep, maxsplit) with a separator.
func rsplit(s string, args *exec.VarArgs) (any, error) {
	separator, count := argument(args, 0, "sep"), argument(args, 1, "maxsplit")
	if separator == nil || !separator.IsString() || separator.String() == "" {
		return nil, errors.New("rsplit needs a separator")
	}
	parts := strings.Split(s, separator.String())
	if count != nil && count.Integer() >= 0 && len(parts) > count.Integer()+1 {
		cut := len(parts) - count.Integer()
		parts = append([]string{strings.Join(parts[:cut], separator.String())}, parts[cut:]...)
	}
	return stringList(parts), nil
}

func splitlines(s string, args *exec.VarArgs) (any, error) {
	keep := argument(args, 0, "keepends")
	out := []string{}
	for s != "" {
		end := strings.IndexAny(s, "\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029")
		if end < 0 {
			out = append(out, s)
			break
		}
		size := len(string([]rune(s[end:])[:1]))
		if strings.HasPrefix(s[end:], "\r\n") {
			size = 2
		}
		line := s[:end]
		if keep != nil && keep.IsTrue() {
			line = s[:end+size]
		}
		out, s = append(out, line), s[end+size:]
	}
	return stringList(out), nil
}

func stringList(parts []string) list {
	out := make(list, len(parts))
	for i, p := range parts {
		out[i] = p
	}
	return out
}

// runeIndex is str.find: an index in characters.
func runeIndex(s, sub string) int {
	i := strings.Index(s, sub)
	if i < 0 {
		return i
	}
	return len([]rune(s[:i]))
}
