package testtools

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
)

// Python returns the path of a Python interpreter in a virtual environment that has the packages, each given with its
// version as "name==1.2.3". It needs python3. The commands that the packages bring lie beside the interpreter.
func Python(t testing.TB, packages ...string) string {
	t.Helper()
	folder := environment(t, "python", "==", packages, func(ctx context.Context, folder string) error {
		base, err := exec.LookPath("python3")
		if err != nil {
			return fmt.Errorf("python3 is needed for a test: %w", err)
		}
		if err := command(ctx, "", base, "-m", "venv", "--clear", folder); err != nil {
			return err
		}
		pip := []string{"-m", "pip", "install", "--quiet", "--disable-pip-version-check"}
		return command(ctx, "", filepath.Join(folder, "bin", "python"), append(pip, packages...)...)
	})
	return filepath.Join(folder, "bin", "python")
}
