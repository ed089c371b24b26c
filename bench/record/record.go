// Package record keeps what was measured as lines of JSON, each on the disk before the next measurement begins: what a later
// one hangs or breaks does not lose it.
package record

import (
	"encoding/json"
	"os"
)

// Append adds v as one line to the file, which it makes; "": nothing is kept.
func Append(path string, v any) error {
	if path == "" {
		return nil
	}
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(append(line, '\n')); err != nil {
		return err
	}
	return f.Sync()
}
