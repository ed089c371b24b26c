// Package storetest is what every adapters.Storage passes: a Store over it keeps what it was given, whatever else happens.
package storetest

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
)

// Opener opens a Storage for a Store in the folder dir. What is stored is the same for all of one test; a shared Storage
// may be open several times, with different folders.
type Opener func(t *testing.T, dir string) adapters.Storage

// Run runs the suite. begin begins a test with nothing stored.
func Run(t *testing.T, begin func(t *testing.T) Opener) {
	for name, check := range map[string]func(*testing.T, *suite){
		"what is put is there after a restart": staysStored,
		"names move, are pinned and go":        namesMove,
		"old versions go":                      versionsExpire,
		"checkpoints are kept apart":           checkpointsAreApart,
		"a held version stays":                 heldVersionsStay,
		"records are written once":             recordsAreCompared,
		"an upload alone shows nothing":        uploadShowsNothing,
		"puts at the same time":                concurrentPuts,
	} {
		t.Run(name, func(t *testing.T) { check(t, &suite{t: t, open: begin(t)}) })
	}
}

type suite struct {
	t    *testing.T
	open Opener
}

// store opens a Store in dir, or in a new folder where dir is "".
func (x *suite) store(dir string, change func(*adapters.Options)) *adapters.Store {
	x.t.Helper()
	if dir == "" {
		dir = x.t.TempDir()
	}
	o := adapters.Options{Dir: dir, Facts: pefttest.Facts(), Storage: x.open(x.t, dir), Warn: func(s string) { x.t.Log(s) }}
	if change != nil {
		change(&o)
	}
	s, err := adapters.Open(o)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { s.Close() })
	return s
}

// Parts is an upload of a small adapter; others have other seeds.
func Parts(t testing.TB, seed uint64) []adapters.Part {
	config, tensors := pefttest.New(seed).Encode(t)
	part := func(name string, data []byte) adapters.Part {
		return adapters.Part{Name: name, Body: bytes.NewReader(data), Size: int64(len(data))}
	}
	return []adapters.Part{part(peft.ConfigFile, config), part(peft.TensorsFile, tensors)}
}

// Put stores an adapter, or ends the test.
func Put(t testing.TB, s *adapters.Store, name string, seed uint64) adapters.Info {
	t.Helper()
	info, err := s.PutUpload(t.Context(), name, Parts(t, seed), adapters.Note{Origin: adapters.Origin{Kind: adapters.FromUpload}})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// Loads reads a version with its values, or fails the test where it is another than wanted.
func Loads(t testing.TB, s *adapters.Store, name, digest string) {
	t.Helper()
	info, lora, err := s.Load(adapters.Ref{Name: name})
	if err != nil || info.Digest != digest || len(lora.Modules) == 0 {
		t.Errorf("%s loads as %.12s, want %.12s: %v", name, info.Digest, digest, err)
	}
}

// versions holds the versions of the name "a" against those wanted.
func (x *suite) versions(s *adapters.Store, want ...adapters.Info) {
	x.t.Helper()
	list, err := s.Versions("a")
	if err != nil {
		x.t.Error(err)
	}
	var got, wanted []string
	for _, i := range list {
		got = append(got, i.Version)
	}
	for _, i := range want {
		wanted = append(wanted, i.Version)
	}
	if !slices.Equal(got, wanted) {
		x.t.Errorf("a has the versions %v, want %v", got, wanted)
	}
}

func staysStored(t *testing.T, x *suite) {
	dir := t.TempDir()
	s := x.store(dir, nil)
	a, dotted := Put(t, s, "a", 1), Put(t, s, "team.a.", 2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = x.store(dir, nil)
	Loads(t, s, "a", a.Digest)
	Loads(t, s, "team.a.", dotted.Digest)
	if list := s.List(); len(list) != 2 || list[0].Digest != a.Digest || list[0].Parameters == 0 || !list[0].Created.Equal(a.Created) || len(s.Damaged()) > 0 {
		t.Errorf("after a restart: %+v, damaged %v", list, s.Damaged())
	}
	e, err := s.Export(t.Context(), adapters.Ref{Name: "a"}, adapters.PEFT)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	z, err := zip.NewReader(e, e.Size)
	if err != nil || len(z.File) != 2 {
		t.Errorf("the export is %v, %v", z, err)
	}
}

func namesMove(t *testing.T, x *suite) {
	s := x.store("", nil)
	one, two := Put(t, s, "a", 1), Put(t, s, "a", 2)
	x.versions(s, two, one)
	Put(t, s, "a", 1)
	x.versions(s, one, two)
	for range 2 { // the second time changes nothing
		if info, err := s.RollBack(adapters.Ref{Name: "a", Version: two.Version}, adapters.Origin{}); err != nil || !info.Current || info.Digest != two.Digest {
			t.Errorf("rolling back: %+v, %v", info, err)
		}
		x.versions(s, two, one)
	}
	if info, err := s.RollBack(adapters.Ref{Name: "a", Version: one.Version}, adapters.Origin{}); err != nil || info.Digest != one.Digest {
		t.Errorf("going forward again: %+v, %v", info, err)
	}
	x.versions(s, one, two)
	if info, err := s.Pin(adapters.Ref{Name: "a", Version: two.Version}, true, adapters.Origin{}); err != nil || !info.Pinned {
		t.Errorf("pinning: %+v, %v", info, err)
	}
	if err := s.DeleteVersion(adapters.Ref{Name: "a", Version: one.Version}, adapters.Origin{}); err != nil {
		t.Error(err)
	}
	Loads(t, s, "a", two.Digest)
	if err := s.Delete("a", adapters.Origin{}); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(adapters.Ref{Name: "a"}); !errors.Is(err, adapters.ErrUnknown) {
		t.Errorf("a deleted name is found: %v", err)
	}
	if err := s.Delete("a", adapters.Origin{}); !errors.Is(err, adapters.ErrUnknown) {
		t.Errorf("deleting it again: %v", err)
	}
	Put(t, s, "a", 3)
	x.versions(s, Put(t, s, "a", 3))
}

func versionsExpire(t *testing.T, x *suite) {
	s := x.store("", func(o *adapters.Options) { o.Keep = 2 })
	first := Put(t, s, "a", 1)
	if _, err := s.Pin(adapters.Ref{Name: "a"}, true, adapters.Origin{}); err != nil {
		t.Fatal(err)
	}
	Put(t, s, "a", 2)
	third := Put(t, s, "a", 3)
	x.versions(s, Put(t, s, "a", 4), third, first)
}

func checkpointsAreApart(t *testing.T, x *suite) {
	dir := t.TempDir()
	s := x.store(dir, nil)
	note := adapters.Note{Origin: adapters.Origin{Kind: adapters.FromJob, Detail: "job-1"}}
	put := func(step int, seed uint64) {
		Put(t, s, "source", seed)
		_, lora, err := s.Load(adapters.Ref{Name: "source"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.PutCheckpoint("a", step, 2, lora, note); err != nil {
			t.Fatal(err)
		}
	}
	for step, seed := range []uint64{1, 2, 3} {
		put(step, seed)
	}
	s.Close()
	s = x.store(dir, nil)
	if list := s.Checkpoints("a"); len(list) != 2 || list[0].Label != "step-2" {
		t.Errorf("checkpoints %+v", list)
	}
	if _, err := s.Get(adapters.Ref{Name: "a"}); !errors.Is(err, adapters.ErrUnknown) {
		t.Errorf("the name points at a checkpoint: %v", err)
	}
	if _, _, err := s.Load(adapters.Ref{Name: "a", Version: "step-1"}); err != nil {
		t.Error(err)
	}
	if err := s.DropCheckpoints("a"); err != nil || len(s.Checkpoints("a")) > 0 {
		t.Errorf("dropped: %v, %v", s.Checkpoints("a"), err)
	}
}

// A request that has selected a version gets it, though the name is gone by the time that it is loaded.
func heldVersionsStay(t *testing.T, x *suite) {
	s := x.store("", nil)
	Put(t, s, "a", 1)
	c := adapters.NewCache(adapters.CacheOptions{Store: s, Budget: 1 << 30, Pack: pack})
	defer c.Close()
	selected, err := c.Select([]adapters.Ref{{Name: "a", Scale: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer selected.Release()
	if err := s.Delete("a", adapters.Origin{}); err != nil {
		t.Fatal(err)
	}
	mix, err := selected.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mix.Release()
}

// Of two writes that have seen the same revision one is refused, and told what is there.
func recordsAreCompared(t *testing.T, x *suite) {
	s := x.open(t, t.TempDir())
	silent := adapters.Follower{Version: func(adapters.StoredVersion) {}, Record: func(adapters.Record) {}, Unused: func(string) bool { return false }, Warn: func(string) {}}
	if err := s.Open(silent); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	write := func(text string, seen uint64) (uint64, error) {
		r := adapters.Record{Kind: adapters.NameRecords, Name: "a", Revision: seen}
		if text != "" {
			r.Data = []byte(text)
		}
		return s.Write(r)
	}
	first, err := write("one", 0)
	if err != nil {
		t.Fatal(err)
	}
	second, err := write("two", first)
	if err != nil || second <= first {
		t.Fatalf("revision %d after %d, %v", second, first, err)
	}
	for _, seen := range []uint64{0, first} {
		for _, text := range []string{"three", ""} {
			if text == "" && seen == 0 {
				continue
			}
			var conflict *adapters.ConflictError
			if _, err := write(text, seen); !errors.As(err, &conflict) || string(conflict.Current.Data) != "two" || conflict.Current.Revision != second {
				t.Errorf("writing %q over revision %d: %v, %+v", text, seen, err, conflict)
			}
		}
	}
	if _, err := write("", second); err != nil {
		t.Error(err)
	}
	if again, err := write("four", 0); err != nil || again <= second {
		t.Errorf("after it was removed: revision %d, %v", again, err)
	}
}

func uploadShowsNothing(t *testing.T, x *suite) {
	dir, from := t.TempDir(), t.TempDir()
	s := x.store("", nil)
	info := Put(t, s, "a", 1)
	s.Close()
	storage := x.open(t, dir)
	var seen []string
	f := adapters.Follower{Version: func(v adapters.StoredVersion) { seen = append(seen, v.Digest) }, Record: func(adapters.Record) {},
		Unused: func(string) bool { return false }, Warn: func(string) {}}
	if err := storage.Open(f); err != nil {
		t.Fatal(err)
	}
	defer storage.Close()
	if err := writeFile(from, "manifest.json", "{}"); err != nil {
		t.Fatal(err)
	}
	other := info.Digest[32:] + info.Digest[:32]
	if _, err := storage.Upload(t.Context(), other, from, false); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(seen, other) {
		t.Error("a version that was uploaded and not placed is shown")
	}
}

func concurrentPuts(t *testing.T, x *suite) {
	s := x.store("", nil)
	stores := []*adapters.Store{s}
	probe := x.open(t, t.TempDir())
	defer probe.Close()
	if probe.Shared() {
		stores = append(stores, x.store("", nil), x.store("", nil))
	}
	var all sync.WaitGroup
	for i, each := range stores {
		all.Go(func() {
			for n := range 4 {
				name := fmt.Sprint("n", n%2)
				if _, err := each.PutUpload(t.Context(), name, Parts(t, uint64(1+10*i+n)), adapters.Note{}); err != nil {
					t.Errorf("store %d: %v", i, err)
				}
			}
		})
	}
	all.Wait()
	Eventually(t, "all have all versions", func() bool {
		for _, each := range stores {
			for _, name := range []string{"n0", "n1"} {
				if list, err := each.Versions(name); err != nil || len(list) != 2*len(stores) {
					return false
				}
			}
			now, _ := each.Get(adapters.Ref{Name: "n0"})
			if first, _ := s.Get(adapters.Ref{Name: "n0"}); first.Digest != now.Digest {
				return false
			}
		}
		return true
	})
	for _, each := range stores {
		for _, i := range s.List() {
			Loads(t, each, i.Name, i.Digest)
		}
	}
}

// Eventually waits until a condition holds, or ends the test.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come to this: %s", what)
		}
	}
}
