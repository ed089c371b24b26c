package responses

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

func mine(owner string) func(string) bool { return func(o string) bool { return o == owner } }

func open(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func record(id, previous, text string, at time.Time) Record {
	return Record{
		ID: id, Owner: "shop", Created: at, Previous: previous, Input: []json.RawMessage{json.RawMessage(`{"say":"` + text + `"}`)},
		Response: json.RawMessage(`{"id":"` + id + `"}`),
	}
}

func TestKeptResponses(t *testing.T) {
	dir := t.TempDir()
	now := time.Now().UTC().Round(0)
	s := open(t, Options{Dir: dir})
	for i, previous := range []string{"", "resp_0", "resp_1"} {
		if err := s.Put(record(fmt.Sprint("resp_", i), previous, fmt.Sprint("turn ", i), now)); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	if err := os.WriteFile(filepath.Join(dir, ".resp_9.json.123.tmp"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "resp_8.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var warned []string
	s = open(t, Options{Dir: dir, Warn: func(w string) { warned = append(warned, w) }})
	if len(warned) != 1 || !strings.Contains(warned[0], "resp_8") {
		t.Errorf("warnings: %q", warned)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*resp_[89]*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	chain, err := s.Chain("resp_2", mine("shop"), 1<<20)
	if err != nil || len(chain) != 3 || string(chain[0].Input[0]) != `{"say":"turn 0"}` || string(chain[2].Response) != `{"id":"resp_2"}` || !chain[1].Created.Equal(now) {
		t.Fatalf("%+v %v", chain, err)
	}
	var long *LengthError
	if _, err := s.Chain("resp_2", mine("shop"), 200); !errors.As(err, &long) {
		t.Errorf("a long conversation: %v", err)
	}
	for _, id := range []string{"resp_3", "", "../resp_1"} {
		if _, err := s.Get(id, mine("shop")); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if _, err := s.Get("resp_1", mine("other")); !errors.Is(err, ErrUnknown) {
		t.Errorf("of another tenant: %v", err)
	}
	if err := s.Delete("resp_1", mine("other")); !errors.Is(err, ErrUnknown) {
		t.Errorf("deleted by another tenant: %v", err)
	}
	if err := s.Delete("resp_1", mine("shop")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Chain("resp_2", mine("shop"), 1<<20); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "resp_1") {
		t.Errorf("a chain with a hole: %v", err)
	}
	if err := s.Put(Record{ID: "../x"}); err == nil {
		t.Error("an id with a path is kept")
	}
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("a folder in use: %v", err)
	}
}

// What was not used for the longest time goes where there are too many bytes, and everything when its time is over.
// TestDamagedResponse wants a response whose file is cut off said to be gone, as one that is found so at the start is.
func TestDamagedResponse(t *testing.T) {
	dir := t.TempDir()
	var warned []string
	s := open(t, Options{Dir: dir, Warn: func(w string) { warned = append(warned, w) }})
	if err := s.Put(record("resp_0", "", "a turn", time.Now())); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "resp_0.json")
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, info.Size()-5)
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Get("resp_0", mine("shop")); !errors.Is(err, ErrUnknown) {
			t.Errorf("error %v", err)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) || len(warned) != 1 {
		t.Errorf("the file: %v; warnings %q", err, warned)
	}
}

func TestBounds(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, Bytes: 10_000, Time: time.Hour, Now: clock})
	put := func(i int) error { return s.Put(record(fmt.Sprint("resp_", i), "", strings.Repeat("x", 900), now)) }
	for i := range 9 {
		if err := put(i); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
	}
	if _, err := s.Get("resp_0", mine("shop")); err != nil {
		t.Fatal(err)
	}
	for i := 9; i < 12; i++ {
		now = now.Add(time.Second)
		if err := put(i); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Get("resp_0", mine("shop")); err != nil {
		t.Errorf("one that was just used: %v", err)
	}
	if _, err := s.Get("resp_1", mine("shop")); !errors.Is(err, ErrUnknown) {
		t.Errorf("the one not used for the longest time: %v", err)
	}
	if sum := bytesIn(t, dir); sum > 10_000 {
		t.Errorf("%d bytes are kept", sum)
	}
	if err := s.Put(record("resp_big", "", strings.Repeat("x", 20_000), now)); !errors.Is(err, disk.ErrNoSpace) {
		t.Errorf("one that is too large: %v", err)
	}
	now = now.Add(time.Hour + time.Second)
	if _, err := s.Get("resp_11", mine("shop")); !errors.Is(err, ErrUnknown) {
		t.Errorf("one whose time is over: %v", err)
	}
	if err := put(20); err != nil {
		t.Fatal(err)
	}
	if sum := bytesIn(t, dir); sum > 1500 {
		t.Errorf("%d bytes are kept of responses whose time is over", sum)
	}
}

func bytesIn(t *testing.T, dir string) (sum int64) {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range list {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Size()
	}
	return sum
}

func TestManyAtOnce(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), Bytes: 20_000})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for k := range 20 {
				id := fmt.Sprint("resp_", i, "_", k)
				if err := s.Put(record(id, "", strings.Repeat("x", 500), time.Now())); err != nil {
					t.Error(err)
				}
				if _, err := s.Get(id, mine("shop")); err != nil && !errors.Is(err, ErrUnknown) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// An owner that keeps much does not push out those that keep little.
func TestEachOwnersShare(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), Bytes: 20_000})
	put := func(id, owner string) {
		r := record(id, "", strings.Repeat("x", 900), time.Now())
		r.Owner = owner
		if err := s.Put(r); err != nil {
			t.Fatal(err)
		}
	}
	put("resp_mine", "shop")
	for i := range 100 {
		put(fmt.Sprint("resp_", i), "cafe")
	}
	if _, err := s.Get("resp_mine", mine("shop")); err != nil {
		t.Errorf("the only one of its owner: %v", err)
	}
	if _, err := s.Get("resp_99", mine("cafe")); err != nil {
		t.Errorf("the newest one: %v", err)
	}
	if _, err := s.Get("resp_0", mine("cafe")); !errors.Is(err, ErrUnknown) {
		t.Errorf("the oldest one of who keeps the most: %v", err)
	}
}
