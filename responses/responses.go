// Package responses keeps the answers of the Responses API on disk, so that later requests can go on from them: bounded in
// bytes, for a time, and each for its owner alone.
package responses

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// ErrUnknown means that there is no such response: never was, or no longer, or it is somebody else's.
var ErrUnknown = errors.New("there is no such response")

// Bounds that Options may change.
const (
	DefaultBytes = 256 << 20
	DefaultTime  = 30 * 24 * time.Hour
)

// maxChain bounds the responses of one conversation.
const maxChain = 4096

// Options are the settings of a Store.
type Options struct {
	Dir   string        // made where it does not exist
	Bytes int64         // of all responses; of the owner with the most, those not used for the longest time go first; 0: DefaultBytes
	Time  time.Duration // that a response is kept for; 0: DefaultTime
	Warn  func(string)  // called with warnings for the operator; may be nil
	Now   func() time.Time
}

// Record is a response as it is kept.
type Record struct {
	ID       string
	Owner    string // the tenant that asked; "" for none
	Created  time.Time
	Previous string            // the response that it goes on from; "" for none
	Input    []json.RawMessage // the items of the request
	Response json.RawMessage   // as it was answered
}

// head is the first line of a response's file, body the second one.
type head struct {
	ID       string    `json:"id"`
	Owner    string    `json:"owner,omitempty"`
	Created  time.Time `json:"created_at"`
	Previous string    `json:"previous,omitempty"`
}

type body struct {
	Input    []json.RawMessage `json:"input"`
	Response json.RawMessage   `json:"response"`
}

// entry is what is known of a response without reading it.
type entry struct {
	head
	bytes int64
	used  time.Time
}

// Store keeps responses. Its methods may be called from any goroutine.
type Store struct {
	o    Options
	lock *os.File

	mu      sync.Mutex
	entries map[string]*entry
	bytes   int64
	closed  bool
	timer   *time.Timer // of the next look for responses whose time is over
}

// sweepTime is how often responses whose time is over are looked for while none is added.
const sweepTime = 10 * time.Minute

// Open opens the folder of a Store, and removes what is too old, damaged or unfinished in it.
func Open(o Options) (*Store, error) {
	o.Bytes, o.Time = cmp.Or(o.Bytes, DefaultBytes), cmp.Or(o.Time, DefaultTime)
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("responses: %w", err)
	}
	lock, err := disk.Lock(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("responses: %w", err)
	}
	s := &Store{o: o, lock: lock, entries: make(map[string]*entry)}
	if err := s.scan(); err != nil {
		lock.Close()
		return nil, fmt.Errorf("responses: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trim()
	s.timer = time.AfterFunc(sweepTime, s.sweep)
	return s, nil
}

// sweep removes responses whose time is over.
func (s *Store) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.trim()
		s.timer.Reset(sweepTime)
	}
}

const suffix = ".json"

// scan reads the first lines of all files.
func (s *Store) scan() error {
	list, err := os.ReadDir(s.o.Dir)
	if err != nil {
		return err
	}
	for _, file := range list {
		path := filepath.Join(s.o.Dir, file.Name())
		if strings.HasPrefix(file.Name(), ".") && strings.HasSuffix(file.Name(), ".tmp") {
			_ = os.Remove(path) // of a server that was killed
			continue
		}
		id, ours := strings.CutSuffix(file.Name(), suffix)
		if !ours {
			continue
		}
		e, err := readHead(path)
		if err == nil && e.ID != id {
			err = fmt.Errorf("it is of %q", e.ID)
		}
		if err != nil {
			s.o.Warn(fmt.Sprintf("the kept response %s is damaged and removed: %v", id, err))
			_ = os.Remove(path)
			continue
		}
		s.entries[id] = e
		s.bytes += e.bytes
	}
	return nil
}

func readHead(path string) (*entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(f).ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	e := &entry{bytes: info.Size(), used: info.ModTime()}
	return e, json.Unmarshal(line, &e.head)
}

// path returns where a response lies. Its id is one that Put was given.
func (s *Store) path(id string) string { return filepath.Join(s.o.Dir, id+suffix) }

// Put keeps a response. The error wraps disk.ErrNoSpace where there is no room.
func (s *Store) Put(r Record) error {
	if r.ID == "" || strings.ContainsAny(r.ID, "/.\\\x00") {
		return fmt.Errorf("the id %q cannot be kept", r.ID)
	}
	e := &entry{head: head{r.ID, r.Owner, r.Created, r.Previous}, used: s.o.Now()}
	first, err := json.Marshal(e.head)
	if err != nil {
		return err
	}
	second, err := json.Marshal(body{r.Input, r.Response})
	if err != nil {
		return err
	}
	e.bytes = int64(len(first) + len(second) + 2)
	if e.bytes > s.o.Bytes {
		return fmt.Errorf("%w: a response of %d bytes is larger than all that are kept may be, %d", disk.ErrNoSpace, e.bytes, s.o.Bytes)
	}
	err = disk.WriteFile(s.path(r.ID), 0o600, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s\n%s\n", first, second)
		return err
	})
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.entries[r.ID] == nil {
			_ = os.Remove(s.path(r.ID)) // it is there where only its folder could not be synced, and must not come back
		}
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.entries[r.ID]; old != nil {
		s.bytes -= old.bytes
	}
	s.entries[r.ID] = e
	s.bytes += e.bytes
	s.trim()
	return nil
}

// trim removes what is too old. Where the rest is too large, what was not used for the longest time goes, of the owner that
// has the most: nobody's conversations are lost to those of others that keep more. s.mu is held.
func (s *Store) trim() {
	oldest := s.o.Now().Add(-s.o.Time)
	for id, e := range s.entries {
		if e.Created.Before(oldest) {
			s.drop(id)
		}
	}
	if s.bytes <= s.o.Bytes {
		return
	}
	list := make([]*entry, 0, len(s.entries))
	for _, e := range s.entries {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *entry) int { return cmp.Or(a.used.Compare(b.used), strings.Compare(a.ID, b.ID)) })
	owners := map[string]*share{}
	for _, e := range list {
		o := owners[e.Owner]
		if o == nil {
			o = &share{}
			owners[e.Owner] = o
		}
		o.entries = append(o.entries, e)
		o.bytes += e.bytes
	}
	for s.bytes > s.o.Bytes*9/10 { // somewhat below, so that not every Put sorts
		var most *share
		for _, o := range owners {
			if most == nil || o.bytes > most.bytes {
				most = o
			}
		}
		e := most.entries[0]
		most.entries, most.bytes = most.entries[1:], most.bytes-e.bytes
		s.drop(e.ID)
	}
}

// share is what an owner has.
type share struct {
	entries []*entry // those not used for the longest time first
	bytes   int64
}

// drop removes a response. s.mu is held.
func (s *Store) drop(id string) {
	if err := os.Remove(s.path(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.o.Warn(fmt.Sprintf("the kept response %s cannot be removed: %v", id, err))
	}
	s.bytes -= s.entries[id].bytes
	delete(s.entries, id)
}

// find returns an entry that owns accepts the owner of. s.mu is held.
func (s *Store) find(id string, owns func(owner string) bool) (*entry, error) {
	e := s.entries[id]
	if e == nil || !owns(e.Owner) || e.Created.Before(s.o.Now().Add(-s.o.Time)) {
		return nil, fmt.Errorf("%w: %q", ErrUnknown, id)
	}
	return e, nil
}

// Get returns a response whose owner owns accepts. The error wraps ErrUnknown.
func (s *Store) Get(id string, owns func(owner string) bool) (Record, error) {
	s.mu.Lock()
	e, err := s.find(id, owns)
	if err != nil {
		s.mu.Unlock()
		return Record{}, err
	}
	e.used = s.o.Now()
	h := e.head
	s.mu.Unlock()
	raw, err := os.ReadFile(s.path(h.ID))
	if errors.Is(err, os.ErrNotExist) { // removed in this moment
		return Record{}, fmt.Errorf("%w: %q", ErrUnknown, h.ID)
	}
	if err != nil {
		return Record{}, err
	}
	_, second, _ := strings.Cut(string(raw), "\n")
	var b body
	if err := json.Unmarshal([]byte(second), &b); err != nil {
		s.o.Warn(fmt.Sprintf("the kept response %s is damaged and removed: %v", h.ID, err))
		s.mu.Lock()
		if s.entries[h.ID] == e {
			s.drop(h.ID)
		}
		s.mu.Unlock()
		return Record{}, fmt.Errorf("%w: %q", ErrUnknown, h.ID)
	}
	return Record{ID: h.ID, Owner: h.Owner, Created: h.Created, Previous: h.Previous, Input: b.Input, Response: b.Response}, nil
}

// ChainBytes returns how many bytes a response has on disk together with those that it goes on from. The error wraps
// ErrUnknown where one of them is gone, and is a *LengthError where they have more than limit.
func (s *Store) ChainBytes(id string, owns func(owner string) bool, limit int64) (total int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, n := id, 0; at != ""; n++ {
		e, err := s.find(at, owns)
		if err != nil {
			return 0, err
		}
		total += e.bytes
		if total > limit || n == maxChain {
			return 0, &LengthError{total, limit}
		}
		at = e.Previous
	}
	return total, nil
}

// Chain returns a response and those that it goes on from, the first of them first. The errors are those of ChainBytes.
func (s *Store) Chain(id string, owns func(owner string) bool, limit int64) ([]Record, error) {
	if _, err := s.ChainBytes(id, owns, limit); err != nil {
		return nil, err
	}
	var list []Record
	for at := id; at != "" && len(list) <= maxChain; {
		r, err := s.Get(at, owns)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
		at = r.Previous
	}
	slices.Reverse(list)
	return list, nil
}

// LengthError says that a conversation has become too long.
type LengthError struct{ Bytes, Limit int64 }

func (e *LengthError) Error() string {
	return fmt.Sprintf("the conversation before it has %d bytes or more, at most %d are read", e.Bytes, e.Limit)
}

// Delete removes a response. Those that go on from it can no longer be gone on from. The error wraps ErrUnknown.
func (s *Store) Delete(id string, owns func(owner string) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.find(id, owns); err != nil {
		return err
	}
	s.drop(id)
	return nil
}

// Close lets another process open the folder. It may be called twice.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.timer.Stop()
	return s.lock.Close()
}
