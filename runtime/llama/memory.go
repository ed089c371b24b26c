//go:build cgo && linux

package llama

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/bytesize"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// memoryError returns an error wrapping runtime.ErrMemory that says what found no memory ("": the work that was asked
// for) and how much the process and the system have.
func memoryError(what string) error {
	return fmt.Errorf("%w: %s found none; the process holds %s, and the system has %s left", runtime.ErrMemory,
		cmp.Or(what, "what was asked for"), kibibytes("/proc/self/status", "VmRSS:"), kibibytes("/proc/meminfo", "MemAvailable:"))
}

// kibibytes reads a size from one of the kernel's tables, as "VmRSS:   1234 kB".
func kibibytes(file, field string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return "an unknown amount"
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, field); found {
			if n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64); err == nil {
				return bytesize.Format(n << 10)
			}
		}
	}
	return "an unknown amount"
}
