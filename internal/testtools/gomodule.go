package testtools

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// Go builds a program in a module of its own that requires the modules, each given with its version as "path@v1.2.3",
// so that go.mod has none of them, and returns the path of the program.
func Go(t testing.TB, source string, modules ...string) string {
	t.Helper()
	folder := environment(t, "go", "@", modules, func(ctx context.Context, folder string) error {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, "go.mod"), []byte("module clients\n\ngo 1.26\n"), 0o644); err != nil {
			return err
		}
		return goCommand(ctx, folder, append([]string{"get"}, modules...)...)
	})
	dir := t.TempDir()
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := goCommand(t.Context(), dir, "build", "-mod=mod", "-o", "program", "."); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "program")
}

// goCommand runs the go command without the C flags of this project.
func goCommand(ctx context.Context, dir string, args ...string) error {
	return command(ctx, dir, "env", append([]string{"CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=", "go"}, args...)...)
}
