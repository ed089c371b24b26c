package adapters

import (
	"fmt"
	"math"
	"strings"
)

// MaxTerms is how many adapters one request may sum.
const MaxTerms = 4

// maxName is how long an adapter's name may be.
const maxName = 128

// Ref names one adapter of a request. Scale 0 leaves it out: ParseRef sets 1.
type Ref struct {
	Name    string
	Version string // a prefix of the digest, at least 4 digits; "" for the version the name points at; or "step-100"
	Scale   float32
}

// ParseRef reads "name", "name@version" or "name@step-100" (a checkpoint), with scale 1. It returns ErrName or ErrReference.
func ParseRef(s string) (Ref, error) {
	name, version, pinned := strings.Cut(s, "@")
	if err := CheckName(name); err != nil {
		return Ref{}, err
	}
	if pinned && !isHex(version, 4) && !isLabel(version) {
		return Ref{}, fmt.Errorf("%w: version %q of %q: 4 to 64 hexadecimal digits are expected", ErrReference, version, name)
	}
	return Ref{Name: name, Version: version, Scale: 1}, nil
}

// String is the inverse of ParseRef; the scale is not part of it.
func (r Ref) String() string {
	if r.Version == "" {
		return r.Name
	}
	return r.Name + "@" + r.Version
}

// CheckName returns ErrName unless name is 1 to 128 of the characters A-Z a-z 0-9 . _ - and starts with a
// letter or a digit. "@" and ":" are the marks of name@version and base:adapter, "/" that of URL paths.
func CheckName(name string) error {
	if name == "" {
		return fmt.Errorf("%w: name is empty", ErrName)
	}
	if len(name) > maxName {
		return fmt.Errorf("%w: name is %d characters long, at most %d are allowed", ErrName, len(name), maxName)
	}
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("._-", rune(c))) {
			return fmt.Errorf("%w: name %q: letters, digits, '.', '_' and '-' are allowed, the first a letter or digit", ErrName, name)
		}
	}
	return nil
}

// check returns ErrName or ErrReference where the reference cannot be meant.
func (r Ref) check() error {
	if err := CheckName(r.Name); err != nil {
		return err
	}
	if r.Version != "" && !isHex(r.Version, 4) && !isLabel(r.Version) {
		return fmt.Errorf("%w: version %q of %q: 4 to 64 hexadecimal digits are expected", ErrReference, r.Version, r.Name)
	}
	if s := float64(r.Scale); math.IsNaN(s) || math.IsInf(s, 0) {
		return fmt.Errorf("%w: scale of %q is not a finite number", ErrReference, r.Name)
	}
	return nil
}

// isHex reports whether s is least to 64 lower-case hexadecimal digits.
func isHex(s string, least int) bool {
	return len(s) >= least && len(s) <= 64 && strings.Trim(s, "0123456789abcdef") == ""
}
