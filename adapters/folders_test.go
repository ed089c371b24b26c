package adapters

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
)

// folderTest watches folders and receives the events.
type folderTest struct {
	*Folders
	t      *testing.T
	events chan FolderEvent
}

func watch(t *testing.T, s *Store, dirs ...string) *folderTest {
	t.Helper()
	x := &folderTest{t: t, events: make(chan FolderEvent, 100)}
	var err error
	x.Folders, err = WatchFolders(FoldersOptions{Store: s, Dirs: dirs, Quiet: 100 * time.Millisecond,
		Event: func(e FolderEvent) { x.events <- e }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

// next returns the next events, as text, in the order of that.
func (x *folderTest) next(n int) (out []string) {
	x.t.Helper()
	for range n {
		select {
		case e := <-x.events:
			out = append(out, fmt.Sprint(e.Action, " ", e.Name))
			if (e.Action == Failed) != (e.Err != nil) {
				x.t.Errorf("event %+v", e)
			}
		case <-time.After(10 * time.Second):
			x.t.Fatalf("no event after %v", out)
		}
	}
	slices.Sort(out)
	return out
}

func (x *folderTest) want(events ...string) {
	x.t.Helper()
	if got := x.next(len(events)); !slices.Equal(got, events) {
		x.t.Fatalf("events %q, want %q", got, events)
	}
}

// quiet checks that nothing more happens: the next events are those of an adapter that is added and removed now. What changed
// before it is looked at before it.
func (x *folderTest) quiet(dir string) {
	x.t.Helper()
	last := filepath.Join(dir, "last")
	pefttest.New(99).Folder(x.t, last)
	x.want("registered last")
	if err := os.RemoveAll(last); err != nil {
		x.t.Fatal(err)
	}
	x.want("removed last")
}

func TestFoldersRegisterAtStart(t *testing.T) {
	dir, s := t.TempDir(), openStore(t, "")
	pefttest.New(1).Folder(t, filepath.Join(dir, "pirate"))
	pefttest.New(2).Folder(t, filepath.Join(dir, "bad name"))
	write(t, filepath.Join(dir, "shout.gguf"), pefttest.NewGGUF(loraOf(t, pefttest.New(3), pefttest.Facts()), 8).Encode(t))
	write(t, filepath.Join(dir, "notes.txt"), []byte("hello"))
	if err := os.MkdirAll(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	half := pefttest.New(4)
	half.Folder(t, filepath.Join(dir, "half"))
	if err := os.Remove(filepath.Join(dir, "half", peft.TensorsFile)); err != nil {
		t.Fatal(err)
	}
	x := watch(t, s, dir, dir+"/")
	x.want("failed bad name", "failed half", "registered pirate", "registered shout")
	if got := names(s.List()); !slices.Equal(got, []string{"pirate", "shout"}) {
		t.Errorf("registered are %v", got)
	}
	info, err := s.Get(Ref{Name: "pirate"})
	if err != nil || info.Origin.Kind != FromFolder || filepath.Base(info.Origin.Detail) != "pirate" {
		t.Errorf("pirate is %+v (%v)", info, err)
	}
	x.Close()
	if err := os.RemoveAll(filepath.Join(dir, "shout.gguf")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "bad name")); err != nil {
		t.Fatal(err)
	}
	pefttest.New(5).Folder(t, filepath.Join(dir, "half"))
	x = watch(t, s, dir)
	x.want("registered half", "removed shout", "unchanged pirate")
}

// TestFoldersWithPipes wants pipes, which to open takes until somebody writes, refused: a server would never be ready.
func TestFoldersWithPipes(t *testing.T) {
	dir, s := t.TempDir(), openStore(t, "")
	pefttest.New(1).Folder(t, filepath.Join(dir, "pirate"))
	pefttest.New(2).Folder(t, filepath.Join(dir, "piped"))
	tensors := filepath.Join(dir, "piped", peft.TensorsFile)
	if err := os.Remove(tensors); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{tensors, filepath.Join(dir, "lora.gguf")} {
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Skip("no pipes here: ", err)
		}
	}
	x := watch(t, s, dir)
	x.want("failed lora", "failed piped", "registered pirate")
	for _, path := range []string{"lora.gguf", "piped"} {
		_, err := x.ImportPath(t.Context(), "x", path)
		pefttest.WantError(t, err, peft.ErrFormat, "is neither a file nor a folder")
	}
	_, err := s.PutPath(t.Context(), "x", filepath.Join(dir, "lora.gguf"), Note{})
	pefttest.WantError(t, err, peft.ErrFormat, "lora.gguf is neither a file nor a folder")
}

func TestFoldersFollowChanges(t *testing.T) {
	dir, s := t.TempDir(), openStore(t, "")
	x := watch(t, s, dir)
	pirate := filepath.Join(dir, "pirate")
	pefttest.New(1).Folder(t, pirate)
	x.want("registered pirate")
	one, err := s.Get(Ref{Name: "pirate"})
	if err != nil {
		t.Fatal(err)
	}

	c, w := pefttest.New(2).Encode(t) // half-written, then whole
	write(t, filepath.Join(pirate, peft.TensorsFile), w[:len(w)/2])
	x.want("failed pirate")
	if now, err := s.Get(Ref{Name: "pirate"}); err != nil || now.Digest != one.Digest {
		t.Errorf("a half-written adapter changed %+v (%v)", now, err)
	}
	write(t, filepath.Join(pirate, peft.TensorsFile), w)
	x.want("registered pirate")
	two, err := s.Get(Ref{Name: "pirate"})
	if err != nil || two.Digest == one.Digest {
		t.Errorf("the change is not seen: %v", err)
	}

	// Moved in place of the old one, as careful tools do.
	tmp := filepath.Join(t.TempDir(), "new")
	write(t, tmp, c)
	if err := os.Rename(tmp, filepath.Join(pirate, peft.ConfigFile)); err != nil {
		t.Fatal(err)
	}
	x.want("registered pirate")

	gguf := filepath.Join(dir, "shout.gguf")
	write(t, gguf, pefttest.NewGGUF(loraOf(t, pefttest.New(3), pefttest.Facts()), 8).Encode(t))
	x.want("registered shout")
	if err := os.Remove(gguf); err != nil {
		t.Fatal(err)
	}
	x.want("removed shout")

	if err := os.RemoveAll(pirate); err != nil {
		t.Fatal(err)
	}
	x.want("removed pirate")
	if list := s.List(); len(list) != 0 {
		t.Errorf("left are %v", names(list))
	}
	pefttest.New(1).Folder(t, pirate)
	x.want("registered pirate")
	x.quiet(dir)
}

func TestFoldersLeaveOthersNamesAlone(t *testing.T) {
	dir, s := t.TempDir(), openStore(t, "")
	pefttest.New(1).Folder(t, filepath.Join(dir, "a"))
	x := watch(t, s, dir)
	x.want("registered a")
	uploaded := mustPut(t, s, "a", pefttest.New(2))
	x.Close()
	x = watch(t, s, dir)
	x.want("unchanged a")
	if err := os.RemoveAll(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	x.quiet(dir)
	if now, err := s.Get(Ref{Name: "a"}); err != nil || now.Digest != uploaded.Digest {
		t.Errorf("a is %+v (%v)", now, err)
	}
}

func TestFoldersWithOneName(t *testing.T) {
	one, two, s := t.TempDir(), t.TempDir(), openStore(t, "")
	pefttest.New(1).Folder(t, filepath.Join(one, "a"))
	pefttest.New(2).Folder(t, filepath.Join(two, "a"))
	x := watch(t, s, one, two)
	x.want("failed a", "registered a")
	first, err := s.Get(Ref{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(one, "a")); err != nil {
		t.Fatal(err)
	}
	x.want("registered a", "removed a")
	if now, err := s.Get(Ref{Name: "a"}); err != nil || now.Digest == first.Digest {
		t.Errorf("the other folder does not take the name: %v", err)
	}
}

func TestFoldersThatCannotBeWatched(t *testing.T) {
	s := openStore(t, "")
	_, err := WatchFolders(FoldersOptions{Store: s, Dirs: []string{filepath.Join(t.TempDir(), "missing")}})
	pefttest.WantError(t, err, os.ErrNotExist, "missing")
}

// A folder that is itself an adapter is registered by its name and followed like one in a watched folder; what lies
// beside it is not looked at, nor read.
func TestFolderThatIsAnAdapter(t *testing.T) {
	parent, s := t.TempDir(), openStore(t, "")
	dir := filepath.Join(parent, "pirate")
	pefttest.New(1).Folder(t, dir)
	pefttest.New(2).Folder(t, filepath.Join(parent, "beside"))
	x := watch(t, s, dir, dir+"/.")
	x.want("registered pirate")
	one, err := s.Get(Ref{Name: "pirate"})
	if err != nil || len(s.List()) != 1 {
		t.Fatalf("registered are %v (%v)", names(s.List()), err)
	}
	for _, path := range []string{"", dir} {
		if _, err := x.ImportPath(t.Context(), "again", path); err != nil {
			t.Errorf("import of %q: %v", path, err)
		}
	}
	for _, path := range []string{"../beside", filepath.Join(parent, "beside"), parent} {
		_, err := x.ImportPath(t.Context(), "x", path)
		pefttest.WantError(t, err, ErrPath, path)
	}
	_, w := pefttest.New(3).Encode(t)
	write(t, filepath.Join(dir, peft.TensorsFile), w)
	x.want("registered pirate")
	if two, err := s.Get(Ref{Name: "pirate"}); err != nil || two.Digest == one.Digest {
		t.Errorf("the change is not seen: %v", err)
	}
	pefttest.New(4).Folder(t, filepath.Join(parent, "later"))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	x.want("removed pirate")
	pefttest.New(5).Folder(t, dir)
	x.want("registered pirate")
	x.Close()
	watch(t, s, dir).want("unchanged pirate")
	if _, err := s.Get(Ref{Name: "later"}); err == nil {
		t.Error("a folder beside the adapter is registered")
	}
}

func TestImportPath(t *testing.T) {
	dir, outside, s := t.TempDir(), t.TempDir(), openStore(t, "")
	x := watch(t, s, dir)
	pefttest.New(1).Folder(t, filepath.Join(dir, "deep", "er", "a"))
	pefttest.New(2).Folder(t, filepath.Join(outside, "b"))
	write(t, filepath.Join(dir, "c.zip"), zipOf(t, filesOf(t, pefttest.New(3), "")...))
	link := func(to, at string) {
		if err := os.Symlink(to, filepath.Join(dir, at)); err != nil {
			t.Fatal(err)
		}
	}
	link(filepath.Join(outside, "b"), "out")
	link(filepath.Join(dir, "deep"), "in")
	if err := os.MkdirAll(filepath.Join(dir, "trap"), 0o755); err != nil {
		t.Fatal(err)
	}
	link(filepath.Join(outside, "b", peft.ConfigFile), "trap/"+peft.ConfigFile)
	link(filepath.Join(outside, "b", peft.TensorsFile), "trap/"+peft.TensorsFile)
	for _, path := range []string{filepath.Join(dir, "deep/er/a"), "deep/er/a", "in/er/a", "deep/../deep/er/a/", "c.zip"} {
		info, err := x.ImportPath(t.Context(), "x", path)
		if err != nil || info.Origin.Kind != FromPath {
			t.Errorf("%s: %+v, %v", path, info, err)
		}
	}
	for _, path := range []string{"", "/", filepath.Join(outside, "b"), "../" + filepath.Base(outside) + "/b", "out", "/etc/passwd", "nothing"} {
		_, err := x.ImportPath(t.Context(), "x", path)
		if path == "" { // the folder itself is no adapter
			pefttest.WantError(t, err, peft.ErrFormat, peft.ConfigFile)
			continue
		}
		pefttest.WantError(t, err, ErrPath, path)
	}
	if _, err := x.ImportPath(t.Context(), "x", "trap"); err == nil || !strings.Contains(err.Error(), "is a link that leads out of") {
		t.Errorf("files were read through links out of the folder, or it is not said: %v", err)
	}
	t.Chdir(dir)
	t.Chdir("..")
	if _, err := x.ImportPath(t.Context(), "x", filepath.Join(filepath.Base(dir), "deep", "er", "a")); err != nil {
		t.Errorf("a path from the working directory: %v", err)
	}
	_, err := x.ImportPath(t.Context(), "no/slash", "deep/er/a")
	pefttest.WantError(t, err, ErrName)
	_, err = watch(t, s).ImportPath(t.Context(), "x", dir)
	pefttest.WantError(t, err, ErrPath, "without adapter folders")
}
