package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
)

// TestFineTuningTeam runs the code of a team that moves its fine-tuning from OpenAI's API to this server, with OpenAI's own packages.
// The operator has given the base the name of the model that the code asks for.
func TestFineTuningTeam(t *testing.T) {
	graded := startGrader(t)
	b := boot(t, "--alias", "gpt-4.1-nano-2025-04-14", "--api-key", "sesame", "--grader-endpoint", graded.url)
	for _, version := range []string{"3.57.0", "1.109.1"} { // the newest, and the last of the line that most such code was written for
		t.Run("Python "+version, func(t *testing.T) {
			python := testtools.Python(t, "openai=="+version)
			graded.calls.Store(0)
			runTeam(t, b.url(), graded.url, python, t.TempDir(), "team.py", "-")
			if graded.calls.Load() == 0 || graded.wrong.Load() > 0 {
				t.Errorf("the endpoint was asked %d times, %d of them without what it needs", graded.calls.Load(), graded.wrong.Load())
			}
		})
	}
	t.Run("Node", func(t *testing.T) {
		node, dir := testtools.Node(t, "openai@7.59.0")
		runTeam(t, b.url(), graded.url, node, dir, "team.mjs", "--input-type=module", "-")
	})
}

// runTeam runs a script with an interpreter, in a folder.
func runTeam(t *testing.T, url, graderURL, interpreter, dir, script string, args ...string) {
	t.Helper()
	text, err := os.ReadFile("e2e/testdata/finetuning/" + script)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, interpreter, args...)
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(text)
	cmd.Env = append(os.Environ(), "LORIKEET_URL="+url, "LORIKEET_API_KEY=sesame", "GRADER_URL="+graderURL)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// teamGrader is an endpoint that grades: the share of an answer's letters that are vowels.
type teamGrader struct {
	url          string
	calls, wrong atomic.Int64
}

func startGrader(t *testing.T) *teamGrader {
	t.Helper()
	g := &teamGrader{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			Sample struct {
				Text  string `json:"output_text"`
				Tools []any  `json:"output_tools"`
			} `json:"sample"`
			Item struct{ City string } `json:"item"`
		}
		g.calls.Add(1)
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || asked.Item.City == "" || asked.Sample.Tools == nil || r.Header.Get("X-Team") != "birds" {
			g.wrong.Add(1)
		}
		vowels := 0
		for _, letter := range strings.ToLower(asked.Sample.Text) {
			if strings.ContainsRune("aeiou", letter) {
				vowels++
			}
		}
		fmt.Fprintf(w, `{"score": %g}`, float64(vowels)/float64(max(1, len(asked.Sample.Text))))
	}))
	t.Cleanup(server.Close)
	g.url = server.URL + "/grade"
	return g
}
