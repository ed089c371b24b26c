package tinker

import (
	"slices"
	"strings"
)

// Kinds of checkpoints, as their paths have them.
const (
	KindTraining = "weights"          // with the optimizer's state: training goes on from it
	KindSampler  = "sampler_weights"  // the adapter alone
	KindExternal = "external_weights" // the same, saved to be used elsewhere: its files can be downloaded one by one
)

const scheme = "tinker://"

// Path names a checkpoint: tinker://RUN/KIND/NAME.
type Path struct{ Run, Kind, Name string }

// String is the inverse of ParsePath.
func (p Path) String() string { return scheme + p.Run + "/" + p.Kind + "/" + p.Name }

// IsPath reports whether s is meant as a path of a checkpoint.
func IsPath(s string) bool { return strings.HasPrefix(s, scheme) }

// kinds are all kinds.
var kinds = []string{KindTraining, KindSampler, KindExternal}

// ParsePath reads a path. The error is a FieldError of the field.
func ParsePath(field, s string) (Path, error) {
	parts := strings.Split(strings.TrimPrefix(s, scheme), "/")
	if !IsPath(s) || len(parts) != 3 {
		return Path{}, invalid(field, "is %.200q: tinker://RUN/KIND/NAME is expected, with the kind %s", s, strings.Join(kinds, ", "))
	}
	p := Path{parts[0], parts[1], parts[2]}
	if !slices.Contains(kinds, p.Kind) {
		return p, invalid(field, "is %.200q: its second part is one of %s", s, strings.Join(kinds, ", "))
	}
	return p, checkName(field, p.Name)
}

// maxName bounds the name of a checkpoint.
const maxName = 64

// checkName refuses names that could not be part of a path and of an adapter's name.
func checkName(field, name string) error {
	if name == "" || len(name) > maxName {
		return invalid(field, "has %d characters: a name has 1 to %d", len(name), maxName)
	}
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("._-", rune(c))) {
			return invalid(field, "is %q: letters, digits, '.', '_' and '-' are allowed, the first a letter or digit", name)
		}
	}
	return nil
}
