package e2e

import (
	"bytes"
	"context"
	"embed"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
)

//go:embed testdata/page
var pageWalks embed.FS

// walk runs a script of testdata/page in Chromium, with what begin.mjs gives it, against a server that has the flags. The
// script fails where a view does not do what it says, axe-core finds a violation, the console has an error, or anything asks
// another server. env is "name=value". Where LORIKEET_SCREENSHOTS names a folder, it gets pictures (`make screenshots`).
func walk(t *testing.T, script, url string, env ...string) {
	t.Helper()
	chromium := testtools.Chromium(t)
	node, folder := testtools.Node(t, "playwright-core@1.65.1", "axe-core@4.14.1")
	var text []byte
	for _, name := range []string{"begin.mjs", script, "end.mjs"} {
		part, err := pageWalks.ReadFile("testdata/page/" + name)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, part...)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "--input-type=module", "-") // in the folder of node_modules
	cmd.Dir, cmd.Stdin = folder, bytes.NewReader(text)
	cmd.Env = append(os.Environ(), "LORIKEET_URL="+url, "CHROMIUM="+chromium, "DOWNLOADS="+t.TempDir(), "FAILED="+filepath.Join(t.ArtifactDir(), "failed.png"))
	cmd.Env = append(cmd.Env, env...)
	cmd.WaitDelay = 5 * time.Second // the browser holds the output open
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	} else if len(out) > 0 {
		t.Log(strings.TrimSpace(string(out)))
	}
}

// TestPageFrame walks through what all views share: the keyboard, landmarks, themes, languages, a narrow screen, the policy.
func TestPageFrame(t *testing.T) {
	walk(t, "frame.mjs", boot(t, "--adapter-dir", demoAdapters).url())
}

// TestPageKey gives the page the key that the server asks for.
func TestPageKey(t *testing.T) {
	walk(t, "key.mjs", boot(t, "--adapter-dir", demoAdapters, "--api-key", "sesame").url())
}

// TestPageChat talks with the base and with adapters.
func TestPageChat(t *testing.T) {
	b := boot(t, "--adapter-dir", demoAdapters)
	walk(t, "chat.mjs", b.url())
}

// TestPageCompare compares the base and adapters.
func TestPageCompare(t *testing.T) {
	walk(t, "compare.mjs", boot(t, "--adapter-dir", demoAdapters).url())
}

// TestPageServer looks at what the server does.
func TestPageServer(t *testing.T) {
	walk(t, "server.mjs", boot(t, "--adapter-dir", demoAdapters).url())
}

// TestPageTrain trains an adapter, from the file that is dropped to a chat with it.
func TestPageTrain(t *testing.T) {
	dataset, err := filepath.Abs("demo/data/support.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	walk(t, "train.mjs", boot(t).url(), "DATASET="+dataset)
}

// TestPageAdapters looks at adapters, uploads broken and good ones, merges, rolls back, downloads and deletes.
func TestPageAdapters(t *testing.T) {
	folder, err := filepath.Abs(demoAdapters)
	if err != nil {
		t.Fatal(err)
	}
	hub, _ := demoHub(t, "hf_secret")
	b := bootWith(t, map[string]string{"HF_ENDPOINT": hub.URL, "HF_TOKEN": "hf_secret"}, "--adapter-dir", demoAdapters)
	walk(t, "adapters.mjs", b.url(), "ADAPTERS="+folder)
}
