package cluster

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/adapters/storetest"
)

// crashDir tells a child process of the test where to put adapters until it is killed.
const crashDir = "LORIKEET_TEST_CLUSTER_CRASH_DIR"

// TestNodeSurvivesKill kills a node that puts and deletes adapters, again and again at random instants: what it had reported as
// put is there when it starts again, with its content, and nothing that it shows is damaged.
func TestNodeSurvivesKill(t *testing.T) {
	if dir := os.Getenv(crashDir); dir != "" {
		putForEver(t, dir)
	}
	kills := 10
	if testing.Short() {
		kills = 3
	}
	dir := t.TempDir()
	o := single(t)
	o.Embedded.Dir = filepath.Join(dir, "jetstream")
	found := 0
	for range kills {
		reported := runAndKill(t, dir, time.Duration(rand.IntN(300))*time.Millisecond)
		n, err := Open(t.Context(), o)
		if err != nil {
			t.Fatalf("after a kill: %v", err)
		}
		s, _ := storeOf(t, n, dir)
		for _, i := range s.List() {
			storetest.Loads(t, s, i.Name, i.Digest)
		}
		if d := s.Damaged(); len(d) > 0 {
			t.Fatalf("after a kill: %v", d)
		}
		for name, digest := range reported {
			if i, err := s.Get(adapters.Ref{Name: name, Version: digest}); err != nil || i.Digest != digest {
				t.Fatalf("%s was put as %s and is lost: %v", name, digest, err)
			}
			found++
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if found == 0 {
		t.Error("no child lived long enough to put anything")
	}
	t.Logf("%d kills, %d reported puts found", kills, found)
}

// putForEver is the child: it puts under a few names, and says so, and deletes others, until it is killed.
func putForEver(t *testing.T, dir string) {
	o := single(t)
	o.Embedded.Dir = filepath.Join(dir, "jetstream")
	s, _ := storeOf(t, open(t, o), dir)
	fmt.Println("open")
	for i := uint64(time.Now().UnixNano()); ; i++ {
		name := fmt.Sprint("n", i%3)
		fmt.Println("put", name, storetest.Put(t, s, name, i%7).Digest)
		if i%3 == 0 {
			storetest.Put(t, s, "gone", i%5)
			if err := s.Delete("gone", adapters.Origin{}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// runAndKill runs the child, kills it some time after it has opened, and returns what it last reported for each name.
func runAndKill(t *testing.T, dir string, after time.Duration) map[string]string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestNodeSurvivesKill$")
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reported := make(map[string]string)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var name, digest string
		switch n, _ := fmt.Sscanf(lines.Text(), "put %s %s", &name, &digest); {
		case n == 2:
			reported[name] = digest
		case lines.Text() == "open":
			time.AfterFunc(after, func() { cmd.Process.Kill() })
		default:
			cmd.Process.Kill()
			t.Errorf("the child says %q", lines.Text())
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child ended by itself")
	}
	return reported
}
