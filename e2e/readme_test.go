package e2e

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeCommands runs the curl lines of README.md and compares their answers with those it shows.
func TestReadmeCommands(t *testing.T) {
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: the README's commands need it", tool)
		}
	}
	blocks := regexp.MustCompile("(?s)```console\n\\$ (.*?)\n(.*?)```").FindAllStringSubmatch(readme(t), -1)
	if len(blocks) < 3 {
		t.Fatalf("README.md shows %d commands with their output, want at least 3", len(blocks))
	}
	b := boot(t, "--adapter-dir", demoAdapters)
	for _, block := range blocks {
		command := strings.ReplaceAll(block[1], "http://127.0.0.1:8080", b.url())
		out, err := exec.Command("bash", "-c", command).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		if got, want := lasting(t, out), lasting(t, []byte(block[2])); !reflect.DeepEqual(got, want) {
			t.Errorf("%s\nanswers    %s\nREADME has %s", block[1], out, block[2])
		}
	}
}

// lasting decodes an answer without what differs from run to run.
func lasting(t *testing.T, answer []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(answer, &m); err != nil {
		t.Fatalf("%v in %s", err, answer)
	}
	maps.DeleteFunc(m, func(key string, _ any) bool {
		return key == "id" || key == "created" || key == "timings" || key == "system_fingerprint"
	})
	return m
}

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
