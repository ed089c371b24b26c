package storetest

import (
	"os"
	"path/filepath"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// packed is an adapter as a device would have it.
type packed struct{}

func (packed) Bytes() int64 { return 1 << 10 }
func (packed) Close() error { return nil }

func pack(*runtime.LoRA) (runtime.Packed, error) { return packed{}, nil }

func writeFile(dir, name, text string) error {
	return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
}
