package bytesize

import "testing"

func TestBytes(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "12": 12, "12b": 12, "1k": 1024, "1KiB": 1024, "1kb": 1000, "2 GiB": 2 << 30, "0.5m": 1 << 19, "1TB": 1e12} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%q: %d and %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "-1", "1PB", "NaN", "1e30", "inf"} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
	for n, want := range map[int64]string{0: "0B", 1023: "1023B", 1536: "1.5KiB", 2 << 30: "2GiB"} {
		if got := Format(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
