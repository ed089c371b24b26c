package dataset

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// conversations is a dataset of n different small conversations.
func conversations(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"messages": [{"role": "user", "content": "What is %d?"}, {"role": "assistant", "content": "%s"}]}`+"\n",
			i, strings.Repeat("It is so. ", 1+i%3))
	}
	return b.String()
}

func wantError(t testing.TB, err, want error, parts ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want one that wraps %q", err, want)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}
