package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
)

// tinkerSDKs are the releases of Tinker's SDK that are tested: the newest one, and the oldest that is promised.
var tinkerSDKs = []string{"0.38.0", "0.25.0"}

// TestTinkerSDK runs a script that trains and samples with the real SDK, with each release. Log-probabilities of training and
// sampling agree, of the base and of what was trained: on the embedded base, which is NF4, with the default settings within 2e-3,
// and on one in F32 whose keys and values are not rounded to half precision within 1e-4.
func TestTinkerSDK(t *testing.T) {
	torch := sitePackages(t, testtools.Torch(t, testtools.TRL...))
	for _, sdk := range tinkerSDKs {
		python := testtools.Python(t, "tinker=="+sdk, "numpy==2.4.6")
		t.Run(sdk+" f32", func(t *testing.T) {
			b := boot(t, "--api-key", "tml-sesame", "--model", converted(t, "quantize", "demo/demo-base.f16.gguf", "f32"),
				"--kv-type", "f32", "--flash-attn", "off")
			runTinker(t, b.url(), python, torch, "1e-4")
		})
		t.Run(sdk+" nf4", func(t *testing.T) {
			b := boot(t, "--api-key", "tml-sesame")
			runTinker(t, b.url(), python, torch, "2e-3")
		})
	}
}

// TestTinkerExample runs the loop of examples/ with the newest SDK: at its end the adapter says what the data has.
func TestTinkerExample(t *testing.T) {
	python := testtools.Python(t, "tinker=="+tinkerSDKs[0], "numpy==2.4.6")
	b := boot(t, "--api-key", "tml-sesame")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-W", "ignore", "examples/tinker_loop.py")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TINKER_BASE_URL=" + b.url(), "TINKER_API_KEY=tml-sesame"}
	out, err := cmd.CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil || len(lines) < 2 || !strings.Contains(lines[len(lines)-2], "tents") || !strings.HasPrefix(lines[len(lines)-1], "saved as tinker://") {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestTinkerManages runs a script that uses what the newest SDK has beside training and sampling.
func TestTinkerManages(t *testing.T) {
	python := testtools.Python(t, "tinker=="+tinkerSDKs[0], "numpy==2.4.6")
	b := boot(t, "--api-key", "tml-sesame")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-W", "ignore", "e2e/testdata/tinker/manage.py")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TINKER_BASE_URL=" + b.url(), "TINKER_API_KEY=tml-sesame", "TINKER_TELEMETRY=0"}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "ok") {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestTinkerGuide runs what docs/tinker.md shows: the server with its flags, and the loop. The environment that it sets is that of the
// test.
func TestTinkerGuide(t *testing.T) {
	guide, err := os.ReadFile("docs/tinker.md")
	if err != nil {
		t.Fatal(err)
	}
	serve := regexp.MustCompile(`(?m)^lorikeet serve (.*)$`).FindSubmatch(guide)
	loop := regexp.MustCompile("(?s)```python\n(import os\n.*?)```").FindSubmatch(guide)
	key := regexp.MustCompile(`TINKER_API_KEY=(\S+)`).FindSubmatch(guide)
	if serve == nil || loop == nil || key == nil {
		t.Fatal("docs/tinker.md shows no server, no key or no loop any more")
	}
	python := testtools.Python(t, "tinker=="+tinkerSDKs[0], "numpy==2.4.6")
	b := boot(t, strings.Fields(string(serve[1]))...)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-W", "ignore", "-")
	cmd.Stdin = bytes.NewReader(loop[1])
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TINKER_BASE_URL=" + b.url(), "TINKER_API_KEY=" + string(key[1])}
	out, err := cmd.CombinedOutput()
	text := string(out)
	if err != nil || !strings.Contains(text, "answer  Ahoy, it be Paris") || !strings.Contains(text, "saved tinker://") {
		t.Fatalf("%v: %s", err, text)
	}
}

// sitePackages is the folder of packages of a Python environment.
func sitePackages(t *testing.T, python string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(python)), "lib", "python3*", "site-packages"))
	if err != nil || len(found) != 1 {
		t.Fatalf("the packages of %s: %v, %v", python, found, err)
	}
	return found[0]
}

// runTinker runs the script with an SDK.
func runTinker(t *testing.T, url, python, torch, tolerance string) {
	t.Helper()
	script, err := os.Open("e2e/testdata/tinker/sdk.py")
	if err != nil {
		t.Fatal(err)
	}
	defer script.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, python, "-W", "ignore", "-")
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = t.TempDir(), script, &out, &out
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TINKER_BASE_URL=" + url, "TINKER_API_KEY=tml-sesame", "TINKER_TELEMETRY=0",
		"TORCH=" + torch, "TOLERANCE=" + tolerance,
	}
	if err := cmd.Run(); err != nil || !strings.HasSuffix(strings.TrimSpace(out.String()), "ok") {
		t.Fatalf("%v: %s", err, out.String())
	}
	t.Log(out.String())
}
