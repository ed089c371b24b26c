package gitlfs

import (
	"errors"
	"strings"
	"testing"
)

func TestPointer(t *testing.T) {
	const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
	for text, want := range map[string]error{
		pointer: ErrPointer, `{"a": 1}`: nil, "": nil, "version": nil, "GGUF": nil, pointer + strings.Repeat("x", 2000): nil,
	} {
		if err := CheckFile(strings.NewReader(text), int64(len(text))); !errors.Is(err, want) {
			t.Errorf("%.30q: %v", text, err)
		}
	}
	if err := Check([]byte(pointer)); err != ErrPointer {
		t.Error(err)
	}
}
