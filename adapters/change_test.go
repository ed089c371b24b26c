package adapters

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/merge"
	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
)

// versionsOf lists the seeds of a name's versions, the newest first.
func versionsOf(t *testing.T, s *Store, name string, infos []Info) (seeds []int) {
	t.Helper()
	list, err := s.Versions(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range list {
		seeds = append(seeds, slices.IndexFunc(infos, func(i Info) bool { return i.Digest == v.Digest }))
	}
	return seeds
}

// The newest versions are kept, and beside them the pinned ones, those that a request has selected, and those of another
// name; a version is removed with its files, and the change is reported.
func TestKeepVersions(t *testing.T) {
	var changes []string
	dir := t.TempDir()
	o := Options{Dir: dir, Facts: pefttest.Facts(), Keep: 2, Changed: func(c Change) {
		changes = append(changes, fmt.Sprint(c.Action, " ", c.Name, " ", c.Version, " by ", c.By))
	}}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.Close() }()
	var infos []Info
	put := func() { infos = append(infos, mustPut(t, s, "a", pefttest.New(uint64(len(infos))))) }
	put()
	if _, err := s.Pin(Ref{Name: "a"}, true, Origin{Kind: ByRequest}); err != nil {
		t.Fatal(err)
	}
	put()
	put()
	other := mustPut(t, s, "b", pefttest.New(2)) // the content of a's third version
	c := NewCache(CacheOptions{Store: s, Budget: 1 << 20})
	defer c.Close()
	used, err := c.Select([]Ref{{Name: "a", Version: infos[1].Version, Scale: 1}})
	if err != nil {
		t.Fatal(err)
	}
	put()
	put()
	if got := versionsOf(t, s, "a", infos); !slices.Equal(got, []int{4, 3, 1, 0}) {
		t.Errorf("with 0 pinned and 1 in use, %v are kept", got)
	}
	if _, err := s.load(other.Digest); err != nil || other.Digest != infos[2].Digest {
		t.Errorf("a version went that another name points at: %v", err)
	}
	used.Release()
	put()
	if got := versionsOf(t, s, "a", infos); !slices.Equal(got, []int{5, 4, 0}) {
		t.Errorf("with 0 pinned, %v are kept", got)
	}
	if _, err := os.Stat(s.path("versions", infos[1].Digest)); err == nil {
		t.Error("the files of a version that went are there")
	}
	s.Close()
	if s, err = Open(o); err != nil { // the pin is on the disk
		t.Fatal(err)
	}
	if i, err := s.Get(Ref{Name: "a", Version: infos[0].Version}); err != nil || !i.Pinned {
		t.Errorf("after a start the version is %+v: %v", i, err)
	}
	if i, err := s.Pin(Ref{Name: "a", Version: infos[0].Version}, false, Origin{Kind: ByRequest}); err != nil || i.Pinned {
		t.Errorf("unpinned it is %+v: %v", i, err)
	}
	put()
	if got := versionsOf(t, s, "a", infos); !slices.Equal(got, []int{6, 5}) {
		t.Errorf("with none pinned, %v are kept", got)
	}
	for _, want := range []string{
		"added a " + infos[0].Version + " by upload", "pinned a " + infos[0].Version + " by request", "expired a " + infos[1].Version + " by upload", "expired a " + infos[2].Version,
		"unpinned a " + infos[0].Version + " by request", "expired a " + infos[0].Version,
	} {
		if !slices.ContainsFunc(changes, func(c string) bool { return strings.HasPrefix(c, want) }) {
			t.Errorf("%q was not told: %q", want, changes)
		}
	}
}

// Every change is reported once, with where it came from; what changes nothing is not reported.
func TestChangesAreReported(t *testing.T) {
	var got []string
	s, err := Open(Options{Dir: t.TempDir(), Facts: pefttest.Facts(), Changed: func(c Change) {
		got = append(got, fmt.Sprintf("%s %s by %s", c.Action, c.Name, c.By))
		if c.Bytes == 0 || (c.Version == "") != (c.Action == Deleted) {
			t.Errorf("the change %+v", c)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	one := mustPut(t, s, "a", pefttest.New(1))
	mustPut(t, s, "a", pefttest.New(1))
	if _, err := s.PutCheckpoint("t", 1, 1, trained(1), Note{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutLoRA("t", trained(2), Note{Origin: Origin{Kind: FromJob, Detail: "job-1"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Merge(t.Context(), "m", Merge{From: weighted(0.5), Options: merge.Options{Method: merge.Cat}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Pin(Ref{Name: "a"}, true, Origin{Kind: ByRequest}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Delete("a", Origin{Kind: FromFolder, Detail: "/adapters/a"}); err != nil {
		t.Fatal(err)
	}
	want := []string{"added a by upload", "added t by job: job-1", "added m by merge: cat of a@" + one.Version + "*0.5", "pinned a by request",
		"deleted a by folder: /adapters/a"}
	if !slices.Equal(got, want) {
		t.Errorf("told were\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestPinRefuses(t *testing.T) {
	s := openStore(t, "")
	mustPut(t, s, "pirate", pefttest.New(1))
	step, err := s.PutCheckpoint("pirate", 7, 1, trained(1), Note{})
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[Ref]error{{Name: "pirat"}: ErrUnknown, {Name: "pirate", Version: "0000"}: ErrUnknown,
		{Name: "pirate", Version: "step-7"}: ErrReference, {Name: "pirate", Version: step.Version}: ErrReference, {Name: "a/b"}: ErrName} {
		_, err := s.Pin(ref, true, Origin{})
		pefttest.WantError(t, err, want)
	}
}

// One version is deleted: the name moves to the newest of the others where it was the current one, and goes with the last.
func TestDeleteVersion(t *testing.T) {
	dir := t.TempDir()
	var changes []string
	o := Options{Dir: dir, Facts: pefttest.Facts(), Changed: func(c Change) {
		changes = append(changes, fmt.Sprint(c.Action, " ", c.Name, " ", c.Version))
	}}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.Close() }()
	var infos []Info
	for i := range 3 {
		infos = append(infos, mustPut(t, s, "a", pefttest.New(uint64(i))))
	}
	by := Origin{Kind: ByRequest}
	ref := func(i int) Ref { return Ref{Name: "a", Version: infos[i].Version, Scale: 1} }
	if err := s.DeleteVersion(ref(2), by); err != nil {
		t.Fatal(err)
	}
	if info, err := s.Get(Ref{Name: "a", Scale: 1}); err != nil || info.Digest != infos[1].Digest || !info.Current {
		t.Errorf("the name points at %+v, error %v", info, err)
	}
	if err := s.DeleteVersion(ref(2), by); !errors.Is(err, ErrUnknown) {
		t.Errorf("a version that is gone: %v", err)
	}
	if err := s.DeleteVersion(ref(0), by); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.path("versions", infos[0].Digest)); !os.IsNotExist(err) {
		t.Errorf("the files of a deleted version: %v", err)
	}
	s.Close()
	if s, err = Open(o); err != nil {
		t.Fatal(err)
	}
	if got := versionsOf(t, s, "a", infos); !slices.Equal(got, []int{1}) {
		t.Errorf("after a restart the versions are %v", got)
	}
	if err := s.DeleteVersion(ref(1), by); err != nil {
		t.Fatal(err)
	}
	if list := s.List(); len(list) != 0 {
		t.Errorf("without versions the name is still there: %+v", list)
	}
	if last := changes[len(changes)-1]; last != "deleted a " || !slices.Contains(changes, "deleted a "+infos[2].Version) {
		t.Errorf("the changes are %q", changes)
	}
}
