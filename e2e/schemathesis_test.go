package e2e

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
)

// TestSchemathesis has schemathesis make requests out of openapi.yaml, valid and invalid ones, and hold the answers against
// it: no status that it does not name, no shape that it does not have, and never the server's fault.
func TestSchemathesis(t *testing.T) {
	python := testtools.Python(t, "schemathesis==4.32.5")
	limit := "40"
	if testing.Short() {
		limit = "10"
	}
	b := boot(t, "--adapter-dir", demoAdapters, "--log-level", "error", "--deadline", "10s")
	spec, err := filepath.Abs("openapi/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(filepath.Dir(python), "schemathesis"), "run", spec, "--url", b.url(),
		"--checks", "not_a_server_error,status_code_conformance,response_schema_conformance,content_type_conformance",
		"--max-time", limit, "--seed", "1", "--suppress-health-check", "all", "--warnings", "off", "--no-color",
		"--exclude-path-regex", "/events$", // streams that end with their job
		"--exclude-path", "/api/v1/forward_backward", // it cannot write Protocol Buffers
		"--exclude-path", "/openapi.yaml") // whose text is read as YAML before it is compared with a string
	cmd.Dir = t.TempDir() // where it leaves a folder of its own
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Test cases:") {
		t.Errorf("%v\n%s", err, out[max(0, len(out)-8000):])
	}
	_, summary, _ := strings.Cut(string(out), "SUMMARY")
	t.Logf("%s", summary)
}
