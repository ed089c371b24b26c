package safetensors

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Member is one field of a JSON object.
type Member struct {
	Key   string
	Value json.RawMessage
}

// ParseObject reads a JSON object in its own order, and refuses what other readers may understand otherwise: a
// key that occurs twice, anything after the object. The configuration files that lie beside safetensors are
// read with it too.
func ParseObject(data []byte) ([]Member, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, cmp.Or(early(err), errors.New("a JSON object is expected"))
	}
	var members []Member
	seen := make(map[string]bool)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, early(err)
		}
		key, _ := t.(string)
		if seen[key] {
			return nil, fmt.Errorf("key %q occurs twice", key)
		}
		seen[key] = true
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return nil, fmt.Errorf("key %q: %w", key, early(err))
		}
		members = append(members, Member{key, v})
	}
	if _, err := d.Token(); err != nil {
		return nil, early(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	return members, nil
}

// early says of an end what it is: one that comes too early.
func early(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the JSON text ends early")
	}
	return err
}
