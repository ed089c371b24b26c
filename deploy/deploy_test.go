// Package deploy has what servers are installed with: a Dockerfile, a Helm chart, an example for gateways, a systemd unit.
// Its tests hold them against the program, and against the types of those that read them.
package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// settings are the flags of serve and the variables that the program reads, as docs/configuration.md has them; a test of
// cmd/lorikeet writes its table.
func settings(t *testing.T) (flags, variables []string) {
	t.Helper()
	text := read(t, "../docs/configuration.md")
	for _, m := range regexp.MustCompile("(?m)^\\| `(--[a-z0-9-]+)` \\| `([A-Z0-9_]+)` \\|").FindAllStringSubmatch(text, -1) {
		flags, variables = append(flags, m[1]), append(variables, m[2])
	}
	if len(flags) < 50 {
		t.Fatalf("docs/configuration.md has %d flags", len(flags))
	}
	_, hubs, found := strings.Cut(text, "## Variables for hubs")
	if !found {
		t.Fatal("docs/configuration.md has no variables for hubs")
	}
	for _, m := range regexp.MustCompile("`([A-Z0-9_]+)`").FindAllStringSubmatch(hubs, -1) {
		variables = append(variables, m[1])
	}
	return flags, variables
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestSettingsExist looks up every flag and variable of Lorikeet that the files of this folder and docs/deploy.md have.
func TestSettingsExist(t *testing.T) {
	flags, variables := settings(t)
	flag := regexp.MustCompile(`(?:^|[\s"` + "`" + `])(--[a-z][a-z0-9-]*)`)
	variable := regexp.MustCompile(`\bLORIKEET_[A-Z0-9_]+`)
	// Flags of docker, helm, kubectl, systemd, go and curl.
	others := []string{"--mount", "--from", "--interval", "--timeout", "--start-period", "--start-interval", "--retries", "--no-healthcheck",
		"--read-only", "--tmpfs", "--cap-drop", "--security-opt", "--stop-timeout", "--set", "--create-namespace", "--from-literal",
		"--from-file", "--now", "--user", "--build-arg", "--set-string", "--namespace", "--replicas", "--rm"}
	seen := 0
	for _, file := range files(t) {
		text := read(t, file)
		for _, m := range flag.FindAllStringSubmatch(text, -1) {
			if seen++; !slices.Contains(flags, m[1]) && !slices.Contains(others, m[1]) {
				t.Errorf("%s: lorikeet serve has no flag %s", file, m[1])
			}
		}
		for _, name := range variable.FindAllString(text, -1) {
			if seen++; !slices.Contains(variables, name) {
				t.Errorf("%s: lorikeet has no variable %s", file, name)
			}
		}
	}
	if seen < 40 {
		t.Errorf("found %d flags and variables", seen)
	}
}

// files are those that people install with, and what docs say of them.
func files(t *testing.T) []string {
	t.Helper()
	list := []string{"../docs/deploy.md"}
	for _, pattern := range []string{"docker/Dockerfile", "systemd/*", "gateway/*", "helm/lorikeet/*.yaml", "helm/lorikeet/templates/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		list = append(list, found...)
	}
	return list
}

// TestUnit checks the settings that have to fit the program.
func TestUnit(t *testing.T) {
	unit := map[string][]string{}
	for line := range strings.Lines(read(t, "systemd/lorikeet.service")) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), "="); found && !strings.HasPrefix(name, "#") {
			unit[name] = append(unit[name], value)
		}
	}
	for name, want := range map[string]string{"Type": "exec", "DynamicUser": "yes", "ProtectSystem": "strict", "NoNewPrivileges": "yes", "StateDirectory": "lorikeet"} {
		if !slices.Equal(unit[name], []string{want}) {
			t.Errorf("%s is %q, want %q", name, unit[name], want)
		}
	}
	_, variables := settings(t)
	drain := 0
	for _, assignment := range unit["Environment"] {
		name, value, _ := strings.Cut(assignment, "=")
		if !slices.Contains(variables, name) {
			t.Errorf("lorikeet has no variable %s", name)
		}
		if name == "LORIKEET_DRAIN" {
			drain = seconds(t, value)
		}
	}
	if stop := seconds(t, unit["TimeoutStopSec"][0]); drain == 0 || stop < drain+30 {
		t.Errorf("it has %d s to stop, and finishes answers for %d s", stop, drain)
	}
}

// TestUnitIsValid gives the unit to systemd's own check, where there is one.
func TestUnitIsValid(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd is not installed")
	}
	// The program does not lie where the unit has it, and systemd looks for it.
	text := strings.Replace(read(t, "systemd/lorikeet.service"), "/usr/local/bin/lorikeet", "/bin/true", 1)
	file := filepath.Join(t.TempDir(), "lorikeet.service")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", file).CombinedOutput()
	if err != nil || strings.Contains(string(out), "lorikeet.service:") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

func seconds(t *testing.T, text string) int {
	t.Helper()
	n := 0
	for _, c := range strings.TrimSuffix(text, "s") {
		if c < '0' || c > '9' {
			t.Fatalf("%q is not a number of seconds", text)
		}
		n = 10*n + int(c-'0')
	}
	return n
}
