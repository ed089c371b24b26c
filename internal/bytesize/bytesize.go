// Package bytesize reads and writes sizes as people write them: 4096, 512MiB, 2GB.
package bytesize

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// units of sizes. The short ones are binary, as in the flags of other servers of models.
var units = []struct {
	suffix string
	bytes  float64
}{
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"tib", 1 << 40},
	{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"tb", 1e12},
	{"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {"t", 1 << 40}, {"b", 1},
}

// Parse reads a size in bytes: a number that is not negative, and a unit or none.
func Parse(text string) (int64, error) {
	number, factor := strings.ToLower(strings.TrimSpace(text)), 1.0
	for _, u := range units {
		if rest, ok := strings.CutSuffix(number, u.suffix); ok {
			number, factor = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || n < 0 || math.IsNaN(n) || n*factor > 1<<62 {
		return 0, errors.New("want a size such as 512MiB or 2GB")
	}
	return int64(n * factor), nil
}

// Format writes a size in bytes with the largest binary unit that leaves at least 1.
func Format(n int64) string {
	names := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(names)-1 {
		v, i = v/1024, i+1
	}
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) + names[i]
}
