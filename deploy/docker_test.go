package deploy

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
)

// instructions are those of the Dockerfile, in one line each, without comments.
func instructions(t *testing.T) []string {
	t.Helper()
	text := regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(read(t, "docker/Dockerfile"), "")
	text = strings.ReplaceAll(text, "\\\n", " ")
	return slices.DeleteFunc(strings.Split(text, "\n"), func(s string) bool { return strings.TrimSpace(s) == "" })
}

// ignored reports whether a path of the repository is not sent to the build.
func ignored(t *testing.T, name string) bool {
	t.Helper()
	for line := range strings.Lines(read(t, "docker/Dockerfile.dockerignore")) {
		pattern := strings.TrimSpace(line)
		if base, anywhere := strings.CutPrefix(pattern, "**/"); anywhere {
			if match, err := path.Match(base, path.Base(name)); err != nil || match {
				return true
			}
		} else if name == pattern || strings.HasPrefix(name, pattern+"/") {
			return true
		}
	}
	return false
}

// TestDockerfilePaths looks for what the image is built of: in the repository, and for the last stage in what the first makes.
func TestDockerfilePaths(t *testing.T) {
	all := strings.Join(instructions(t), "\n")
	copied := 0
	for _, line := range instructions(t) {
		words := strings.Fields(line)
		if words[0] != "COPY" {
			continue
		}
		for _, source := range words[1 : len(words)-1] {
			switch {
			case source == "--from=build":
			case words[1] == "--from=build":
				if source != "/etc/ssl/certs/ca-certificates.crt" && !strings.Contains(all, "-o "+source+" ./cmd/lorikeet") {
					t.Errorf("%s: the stage build does not make it", line)
				}
			default:
				if _, err := os.Stat(filepath.Join("..", source)); err != nil || ignored(t, source) {
					t.Errorf("%s: %s is not in the repository, or left out of the build: %v", line, source, err)
				}
			}
			copied++
		}
	}
	if copied < 5 {
		t.Errorf("found %d paths that are copied", copied)
	}
	for _, want := range []string{"USER 10001:10001", "VOLUME /data", "ARG MARCH=x86-64-v3", `make -s env MARCH="$MARCH"`, `ENTRYPOINT ["/usr/local/bin/lorikeet"]`} {
		if !strings.Contains(all, want) {
			t.Errorf("the Dockerfile lacks %s", want)
		}
	}
}

// TestDockerfileGo holds the version of Go in the image against that of go.mod.
func TestDockerfileGo(t *testing.T) {
	module := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "../go.mod"))
	image := regexp.MustCompile(`(?m)^ARG GO_VERSION=(\d+\.\d+)`).FindStringSubmatch(read(t, "docker/Dockerfile"))
	if module == nil || image == nil || module[1] != image[1] {
		t.Errorf("go.mod has %v, the image %v", module, image)
	}
}

// TestNothingOfTheProgramIsIgnored holds the folders and embedded files of the program against what is sent to the build.
func TestNothingOfTheProgramIsIgnored(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-f", `{{if not .Standard}}{{$d := .ImportPath}}{{range .GoFiles}}{{$d}}/{{.}}
{{end}}{{range .CgoFiles}}{{$d}}/{{.}}
{{end}}{{range .CXXFiles}}{{$d}}/{{.}}
{{end}}{{range .HFiles}}{{$d}}/{{.}}
{{end}}{{range .EmbedFiles}}{{$d}}/{{.}}
{{end}}{{end}}`, "./cmd/lorikeet")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1") // lists alone, without a compiler
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	files := 0
	for line := range strings.Lines(string(out)) {
		name, ours := strings.CutPrefix(strings.TrimSpace(line), "github.com/lorikeet-ai/lorikeet/")
		if !ours {
			continue
		}
		if files++; ignored(t, name) {
			t.Errorf("%s is part of the program, and Dockerfile.dockerignore leaves it out", name)
		}
	}
	if files < 200 {
		t.Errorf("found %d files of the program", files)
	}
}

// TestHealthcheck runs the command of the Dockerfile against a server that is well, one that is not, and none.
func TestHealthcheck(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		testtools.Missing(t, err)
	}
	var command []string
	for _, line := range instructions(t) {
		if strings.HasPrefix(line, "HEALTHCHECK") {
			_, list, _ := strings.Cut(line, "[")
			if err := json.Unmarshal([]byte("["+list), &command); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
	}
	var status atomic.Int32
	status.Store(http.StatusOK)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.WriteHeader(int(status.Load()))
	}))
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	healthy := func() bool {
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Env = append(os.Environ(), "LORIKEET_PORT="+port)
		return cmd.Run() == nil
	}
	if !healthy() {
		t.Error("a server that answers 200 is not healthy")
	}
	if status.Store(http.StatusServiceUnavailable); healthy() {
		t.Error("a server that answers 503 is healthy")
	}
	if s.Close(); healthy() {
		t.Error("no server is healthy")
	}
}
