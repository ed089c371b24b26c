package testtools

import (
	"context"
	_ "embed"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
)

//go:embed torch.py
var withoutCUDA string

// Torch returns the path of a Python interpreter as Python does, for packages with torch among them. The wheel of torch asks for
// CUDA's libraries, of some GiB: nothing that the packages ask for is installed with them, so that all of it has to be among
// the packages, and torch is made to run without those libraries. This takes gcc and binutils.
func Torch(t testing.TB, packages ...string) string {
	t.Helper()
	folder := environment(t, "torch", "==", packages, func(ctx context.Context, folder string) error {
		base, err := exec.LookPath("python3")
		if err != nil {
			return fmt.Errorf("python3 is needed for a test: %w", err)
		}
		if err := command(ctx, "", base, "-m", "venv", "--clear", folder); err != nil {
			return err
		}
		python := filepath.Join(folder, "bin", "python")
		if err := command(ctx, "", python, append([]string{"-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"}, packages...)...); err != nil {
			return err
		}
		if err := command(ctx, "", python, "-c", withoutCUDA); err != nil {
			return err
		}
		return command(ctx, "", python, "-c", "import torch")
	})
	return filepath.Join(folder, "bin", "python")
}
