package adapters

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
)

// crashDir tells a child process of the test where to put adapters until it is killed.
const crashDir = "LORIKEET_TEST_CRASH_DIR"

// TestStoreSurvivesKill kills a process that puts and deletes adapters, again and again at random instants. After
// each, the store must open, and every name it shows must load with its digest; what the process had reported as
// put before it died must be there.
func TestStoreSurvivesKill(t *testing.T) {
	if dir := os.Getenv(crashDir); dir != "" {
		putForEver(t, dir)
	}
	kills := 25
	if testing.Short() {
		kills = 5
	}
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	loaded, put := 0, 0
	for range kills {
		reported := runAndKill(t, dir, time.Duration(rng.IntN(100_000))*time.Microsecond)
		s, err := Open(Options{Dir: dir, Facts: pefttest.Facts()})
		if err != nil {
			t.Fatalf("after a kill: %v", err)
		}
		if d := s.Damaged(); len(d) > 0 {
			t.Fatalf("after a kill: %v", d)
		}
		list := s.List()
		for _, i := range list {
			if _, err := s.load(i.Digest); err != nil {
				t.Fatalf("after a kill: %v", err)
			}
			loaded++
		}
		for name, digest := range reported {
			if i, err := s.Get(Ref{Name: name, Version: digest}); err != nil || i.Digest != digest {
				t.Fatalf("%s was put as %s and is lost: %v", name, digest, err)
			}
			put++
		}
		if left := tree(t, s.path("tmp")); len(left) > 0 {
			t.Fatalf("leftovers %v", left)
		}
		s.Close()
	}
	t.Logf("%d kills, %d loads, %d reported puts found", kills, loaded, put)
	if loaded == 0 || put == 0 {
		t.Error("no child lived long enough to put anything")
	}
}

// putForEver is the child: it puts under a few names, and says so, and deletes others, until it is killed.
func putForEver(t *testing.T, dir string) {
	s, err := Open(Options{Dir: dir, Facts: pefttest.Facts()})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("open")
	for i := uint64(time.Now().UnixNano()); ; i++ {
		name := fmt.Sprint("n", i%3)
		info, err := s.PutUpload(t.Context(), name, partsOf(t, pefttest.New(i%7)), Note{})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("put", name, info.Digest)
		if gone := fmt.Sprint("gone", i%2); i%3 == 0 {
			if _, err := s.PutUpload(t.Context(), gone, partsOf(t, pefttest.New(i%5)), Note{}); err != nil {
				t.Fatal(err)
			}
			if err := s.Delete(gone, Origin{}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// runAndKill runs the child, kills it after some time, and returns what it last reported
// for each name.
func runAndKill(t *testing.T, dir string, after time.Duration) map[string]string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestStoreSurvivesKill$")
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
			t.Fatalf("the child says %q", lines.Text())
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child ended by itself")
	}
	return reported
}
