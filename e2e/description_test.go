package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
)

// The versions that read openapi.yaml.
var (
	nodeGenerators   = []string{"@redocly/cli@2.77.0", "openapi-typescript@7.13.0", "@hey-api/openapi-ts@0.99.0", "typescript@5.9.3"}
	pythonGenerators = []string{"datamodel-code-generator==0.89.0", "pydantic==2.14.4"}
	// Versions 0.28 and later make code that does not load where a body may have one of two media types.
	clientGenerator = []string{"openapi-python-client==0.27.1"}
)

// clientConfig renames the one schema that has a name of the generator's own, and tells it what it does not know, YAML.
const clientConfig = `content_type_overrides: {application/yaml: text/plain, application/x-protobuf: application/octet-stream, application/zip: application/octet-stream}
class_overrides: {Response: {class_name: ModelResponse, module_name: model_response}}
post_hooks: []
`

// TestDescription has a linter read openapi.yaml, and four generators make clients out of it: types for TypeScript,
// functions for TypeScript, and models and functions for Python. What they make is compiled, and used against a server.
func TestDescription(t *testing.T) {
	node, packages := testtools.Node(t, nodeGenerators...)
	python, client := testtools.Python(t, pythonGenerators...), testtools.Python(t, clientGenerator...)
	b := boot(t, "--adapter-dir", demoAdapters, "--api-key", "sesame")
	dir := t.TempDir()
	for name, from := range map[string]string{
		"openapi.yaml": "openapi/openapi.yaml", "check.ts": "e2e/testdata/generated/check.ts", "check.py": "e2e/testdata/generated/check.py",
		"check_client.py": "e2e/testdata/generated/check_client.py",
	} {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	modules := filepath.Join(packages, "node_modules")
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	run := func(program string, args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "LORIKEET_URL="+b.url(), "LORIKEET_API_KEY=sesame", "REDOCLY_TELEMETRY=off", "REDOCLY_SUPPRESS_UPDATE_NOTICE=true")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", filepath.Base(program), args, err, out[:min(len(out), 8000)])
		}
	}
	bin := func(parts ...string) string { return filepath.Join(append([]string{modules}, parts...)...) }
	run(node, bin("@redocly", "cli", "bin", "cli.js"), "lint", "openapi.yaml")
	run(node, bin("openapi-typescript", "bin", "cli.js"), "openapi.yaml", "-o", "types.d.ts", "--default-non-nullable=false")
	run(node, bin("@hey-api", "openapi-ts", "bin", "run.js"), "-i", "openapi.yaml", "-o", "sdk")
	run(node, bin("typescript", "bin", "tsc"), "--strict", "--skipLibCheck", "--module", "commonjs", "--moduleResolution", "node10",
		"--target", "es2022", "--lib", "es2022,dom,dom.iterable", "--outDir", "out", "check.ts")
	run(node, "out/check.js")
	run(filepath.Join(filepath.Dir(python), "datamodel-codegen"), "--input", "openapi.yaml", "--input-file-type", "openapi", "--output", "models.py",
		"--output-model-type", "pydantic_v2.BaseModel", "--strict-nullable")
	run(python, "check.py")
	if err := os.WriteFile(filepath.Join(dir, "client.yaml"), []byte(clientConfig), 0o644); err != nil {
		t.Fatal(err)
	}
	run(filepath.Join(filepath.Dir(client), "openapi-python-client"), "generate", "--path", "openapi.yaml", "--meta", "none",
		"--output-path", "client_of_api", "--config", "client.yaml", "--fail-on-warning")
	run(client, "check_client.py")
}
