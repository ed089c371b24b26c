package adapters

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/merge"
	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// failingFiles fails from one operation on: that one alone, or all that follow, too, as a disk does that stays full.
// A write that fails has written a part.
type failingFiles struct {
	osFiles
	errno syscall.Errno
	stays bool

	mu   sync.Mutex
	left int // operations that succeed
	seen []string
}

func (x *failingFiles) fails(op, path string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.seen = append(x.seen, op+" "+filepath.Base(path))
	if x.left--; x.left == -1 || x.left < 0 && x.stays {
		return &fs.PathError{Op: op, Path: path, Err: x.errno}
	}
	return nil
}

func (x *failingFiles) Mkdir(path string) error {
	if err := x.fails("mkdir", path); err != nil {
		return err
	}
	return x.osFiles.Mkdir(path)
}

func (x *failingFiles) MkdirTemp(dir, pattern string) (string, error) {
	if err := x.fails("mkdir", dir); err != nil {
		return "", err
	}
	return x.osFiles.MkdirTemp(dir, pattern)
}

func (x *failingFiles) Create(path string) (*os.File, error) {
	if err := x.fails("create", path); err != nil {
		return nil, err
	}
	return x.osFiles.Create(path)
}

func (x *failingFiles) CreateTemp(dir, pattern string) (*os.File, error) {
	if err := x.fails("create", dir); err != nil {
		return nil, err
	}
	return x.osFiles.CreateTemp(dir, pattern)
}

func (x *failingFiles) Write(f *os.File, b []byte) (int, error) {
	if err := x.fails("write", f.Name()); err != nil {
		n, _ := x.osFiles.Write(f, b[:len(b)/2])
		return n, err
	}
	return x.osFiles.Write(f, b)
}

func (x *failingFiles) Sync(f *os.File) error {
	if err := x.fails("sync", f.Name()); err != nil {
		return err
	}
	return x.osFiles.Sync(f)
}

func (x *failingFiles) Rename(from, to string) error {
	if err := x.fails("rename", to); err != nil {
		return err
	}
	return x.osFiles.Rename(from, to)
}

func (x *failingFiles) SyncDir(path string) error {
	if err := x.fails("sync", path); err != nil {
		return err
	}
	return x.osFiles.SyncDir(path)
}

// state says what a store holds: its names, each with its versions.
func state(t *testing.T, s *Store) string {
	t.Helper()
	var b strings.Builder
	for _, i := range s.List() {
		versions, err := s.Versions(i.Name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(&b, i.Name, ":")
		for _, v := range versions {
			fmt.Fprint(&b, " ", v.Version)
		}
		for _, v := range s.Checkpoints(i.Name) {
			fmt.Fprint(&b, " ", v.Label)
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}

// changes are those that write; each is made to a store that holds the adapters a and b.
var changes = map[string]func(t *testing.T, s *Store) error{
	"upload": func(t *testing.T, s *Store) error {
		_, err := s.PutUpload(t.Context(), "new", partsOf(t, pefttest.New(3)), Note{})
		return err
	},
	"archive over a name that is there": func(t *testing.T, s *Store) error {
		_, err := s.PutUpload(t.Context(), "a", []Part{part("x.zip", zipOf(t, filesOf(t, pefttest.New(3), "")...))}, Note{})
		return err
	},
	"merge": func(t *testing.T, s *Store) error {
		_, err := s.Merge(t.Context(), "new", Merge{From: weighted(1, 1), Options: merge.Options{Method: merge.Cat}})
		return err
	},
	"trained": func(t *testing.T, s *Store) error {
		_, err := s.PutLoRA("new", trained(1), Note{Origin: Origin{Kind: FromJob}})
		return err
	},
	"checkpoint": func(t *testing.T, s *Store) error {
		_, err := s.PutCheckpoint("a", 7, 2, trained(1), Note{})
		return err
	},
	"export": func(t *testing.T, s *Store) error {
		e, err := s.Export(t.Context(), Ref{Name: "a"}, PEFT)
		if err == nil {
			err = e.Close()
		}
		return err
	},
}

// Whatever operation a full disk fails, and whether it is full for a moment or stays so: the change says so, the store
// holds what it held before or all of the change, in memory as on the disk, no file is left over, and with room again
// the same change succeeds.
func TestFullDiskAtEveryOperation(t *testing.T) {
	for name, change := range changes {
		for errno, stays := range map[syscall.Errno]bool{syscall.ENOSPC: true, syscall.EDQUOT: false} {
			t.Run(fmt.Sprintf("%s/%v", name, errno), func(t *testing.T) {
				t.Parallel()
				n := 0
				for fullDiskAt(t, change, errno, stays, n) {
					n++
				}
				if n < 3 {
					t.Errorf("the change has %d operations", n)
				}
			})
		}
	}
}

// fullDiskAt fails operation n of a change. It reports whether the change has so many.
func fullDiskAt(t *testing.T, change func(*testing.T, *Store) error, errno syscall.Errno, stays bool, n int) bool {
	dir := t.TempDir()
	s := openStore(t, dir)
	mustPut(t, s, "a", pefttest.New(1))
	mustPut(t, s, "b", pefttest.New(2))
	before := state(t, s)
	x := &failingFiles{errno: errno, stays: stays, left: n}
	useFiles(s, x)
	err := change(t, s)
	at := ""
	if n < len(x.seen) {
		at = x.seen[n]
	}
	useFiles(s, osFiles{})
	if after := state(t, s); err != nil && after != before {
		t.Errorf("operation %d (%s) fails with %v, and the store holds\n%sbefore it held\n%s", n, at, err, after, before)
	}
	if err != nil && !errors.Is(err, disk.ErrNoSpace) {
		t.Errorf("operation %d (%s): %v is not told as a full disk", n, at, err)
	}
	if left := tree(t, s.path("tmp")); len(left) > 0 {
		t.Errorf("operation %d (%s) leaves %v", n, at, left)
	}
	if at == "" {
		return false
	}
	if err != nil {
		if err := change(t, s); err != nil {
			t.Errorf("operation %d (%s): with room again: %v", n, at, err)
		}
	}
	now := state(t, s)
	s.Close()
	s = openStore(t, dir)
	if again := state(t, s); again != now || len(s.Damaged()) > 0 {
		t.Errorf("operation %d (%s): opened again the store holds\n%swith the damage %v, it held\n%s", n, at, again, s.Damaged(), now)
	}
	for _, i := range s.List() {
		if _, err := s.load(i.Digest); err != nil {
			t.Errorf("operation %d (%s): %s: %v", n, at, i.Name, err)
		}
	}
	s.Close()
	return true
}
