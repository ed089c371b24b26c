package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// errPackages wraps what went wrong when the npm packages were installed.
var errPackages = errors.New("the npm packages could not be installed")

// build installs the packages, writes the types of the API, checks the types of the sources and writes the built page to
// out; "" is dist in the page's folder.
func build(ctx context.Context, page, out string) error {
	page, err := filepath.Abs(page)
	if err != nil {
		return err
	}
	if out == "" {
		out = filepath.Join(page, "dist")
	}
	if out, err = filepath.Abs(out); err != nil {
		return err
	}
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: %s is not in PATH: install Node 20.19 or newer, for example: apt-get install nodejs npm", errPackages, program)
		}
	}
	if err := install(ctx, page); err != nil {
		return err
	}
	tool := func(ctx context.Context, script string, args ...string) error {
		return run(ctx, page, "node", append([]string{filepath.Join("node_modules", script)}, args...)...)
	}
	// Optional fields stay optional where they have a default: nobody has to send them.
	if err := tool(ctx, "openapi-typescript/bin/cli.js", "../openapi/openapi.yaml", "--output", "src/lib/schema.gen.ts", "--default-non-nullable=false", "--empty-objects-unknown"); err != nil {
		return err
	}
	together, ctx := errgroup.WithContext(ctx)
	together.Go(func() error { return tool(ctx, "typescript-native/bin/tsc", "--project", "tsconfig.json") })
	together.Go(func() error { return tool(ctx, "typescript-native/bin/tsc", "--project", "tests/tsconfig.json") })
	together.Go(func() error {
		return tool(ctx, "vite/bin/vite.js", "build", "--logLevel", "warn", "--outDir", out, "--emptyOutDir")
	})
	return together.Wait()
}

// install has page/node_modules lead to the packages of package-lock.json.
func install(ctx context.Context, page string) error {
	packages, err := packageFolder(ctx, page)
	if err != nil {
		return fmt.Errorf("%w: %w", errPackages, err)
	}
	link, target := filepath.Join(page, "node_modules"), filepath.Join(packages, "node_modules")
	switch now, err := os.Readlink(link); {
	case err == nil && now == target:
		return nil
	case err == nil: // of an earlier lock file
		if err := os.Remove(link); err != nil {
			return err
		}
	case !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s is not a link made by this program: remove it", link)
	}
	if err := os.Symlink(target, link); err != nil && !errors.Is(err, os.ErrExist) { // another run may have made it
		return err
	}
	return nil
}

// packageFolder returns the folder of the user's cache that has the packages; the first call for a lock file installs them.
func packageFolder(ctx context.Context, page string) (string, error) {
	hash := sha256.New()
	fmt.Fprintln(hash, runtime.GOOS, runtime.GOARCH)
	texts := map[string][]byte{}
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc"} {
		text, err := os.ReadFile(filepath.Join(page, name))
		if err != nil {
			return "", err
		}
		texts[name] = text
		hash.Write(text)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(cache, "lorikeet-page", hex.EncodeToString(hash.Sum(nil)[:8]))
	locks := folder + ".locks" // beside the folder, which a failed installation removes
	if err := os.MkdirAll(locks, 0o755); err != nil {
		return "", err
	}
	lock, err := disk.LockWait(ctx, locks, func() {})
	if err != nil {
		return "", err
	}
	defer lock.Close()
	complete := filepath.Join(folder, "complete")
	if _, err := os.Stat(complete); err == nil {
		return folder, nil
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o644); err != nil {
			return "", err
		}
	}
	if err := run(ctx, folder, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"); err != nil {
		return "", errors.Join(err, os.RemoveAll(folder))
	}
	return folder, os.WriteFile(complete, nil, 0o644)
}

// run runs a program; its error has what the program printed.
func run(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
