package tinker

import (
	"strings"
)

// Kinds of checkpoints, as their paths have them.
const (
	KindTraining = "weights"         // with the optimizer's state: training goes on from it
	KindSampler  = "sampler_weights" // the adapter alone
)

const scheme = "tinker://"

// Path names a checkpoint: tinker://RUN/KIND/NAME.
type Path struct{ Run, Kind, Name string }

// String is the inverse of ParsePath.
func (p Path) String() string { return scheme + p.Run + "/" + p.Kind + "/" + p.Name }

// IsPath reports whether s is meant as a path of a checkpoint.
func IsPath(s string) bool { return strings.HasPrefix(s, scheme) }

// ParsePath reads a path. The error is a FieldError of the field.
func ParsePath(field, s string) (Path, error) {
	parts := strings.Split(strings.TrimPrefix(s, scheme), "/")
	if !IsPath(s) || len(parts) != 3 {
		return Path{}, invalid(field, "is %.200q: tinker://RUN/%s/NAME or tinker://RUN/%s/NAME is expected", s, KindTraining, KindSampler)
	}
	p := Path{parts[0], parts[1], parts[2]}
	if p.Kind != KindTraining && p.Kind != KindSampler {
		return p, invalid(field, "is %.200q: its second part is %q or %q", s, KindTraining, KindSampler)
	}
	return p, nil
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
