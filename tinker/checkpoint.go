package tinker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// maxCheckpoints bounds how many there are.
const maxCheckpoints = 4096

// Checkpoint is what is known of a checkpoint: the content of its file.
type Checkpoint struct {
	Run      string            `json:"run"`
	Kind     string            `json:"kind"`
	Name     string            `json:"name"`
	Owner    string            `json:"owner"`
	Created  time.Time         `json:"created"`
	Expires  time.Time         `json:"expires,omitzero"` // zero: never
	Public   bool              `json:"public,omitempty"` // others may load it and sample from it
	Base     string            `json:"base"`             // fingerprint of the base
	Model    string            `json:"base_model"`       // its name
	Adapter  string            `json:"adapter"`          // of the adapters' store
	Digest   string            `json:"digest"`           // of its version
	Bytes    int64             `json:"bytes"`            // of the adapter's files and the state's
	Config   Config            `json:"lora_config"`
	Steps    int64             `json:"steps"`
	Metadata map[string]string `json:"user_metadata,omitempty"`     // of the checkpoint
	OfRun    map[string]string `json:"run_user_metadata,omitempty"` // of its model
	State    string            `json:"state,omitempty"`             // file of the Trainer's state; KindTraining only

	file string // of this record
}

// Path names the checkpoint.
func (c *Checkpoint) Path() Path { return Path{c.Run, c.Kind, c.Name} }

// checkpoints keeps what is known of all checkpoints. Records never change: they are replaced.
type checkpoints struct {
	dir string

	commit sync.Mutex // held while files change; taken before mu
	mu     sync.Mutex
	byPath map[Path]*Checkpoint
}

const recordEnding = ".json"

// openCheckpoints reads the records in dir and removes states that none of them has.
func openCheckpoints(dir string, warn func(string)) (*checkpoints, error) {
	k := &checkpoints{dir: dir, byPath: map[Path]*Checkpoint{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	needed := map[string]bool{}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), recordEnding) || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		c, err := readCheckpoint(filepath.Join(dir, e.Name()))
		needed[e.Name()] = true
		if err != nil {
			warn(fmt.Sprintf("Tinker: the checkpoint in %s is damaged and not used: %v", e.Name(), err))
			needed[strings.TrimSuffix(e.Name(), recordEnding)+stateEnding] = true
			continue
		}
		needed[c.State] = true
		k.byPath[c.Path()] = c
	}
	for _, e := range entries {
		if !needed[e.Name()] {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	return k, nil
}

func readCheckpoint(path string) (*Checkpoint, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c := &Checkpoint{file: filepath.Base(path)}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, err
	}
	if c.Run == "" || c.Name == "" || !slices.Contains(kinds, c.Kind) || filepath.Base(c.State) != c.State && c.State != "" {
		return nil, errors.New("fields are missing or of no use")
	}
	return c, nil
}

// put writes a record in the place of one with the same path, whose state is removed.
func (k *checkpoints) put(c *Checkpoint) error {
	k.commit.Lock()
	defer k.commit.Unlock()
	old := k.find(c.Path())
	if n, all := k.count(c.Owner); old == nil && full(c.Owner, n, all, maxCheckpoints) {
		return fmt.Errorf("%w: there are %d checkpoints; delete some", ErrTooMany, n)
	}
	if c.file == "" {
		c.file = newID(12) + recordEnding
	}
	err := disk.WriteFile(filepath.Join(k.dir, c.file), 0o600, func(f io.Writer) error { return json.NewEncoder(f).Encode(c) })
	if err != nil {
		return err
	}
	k.mu.Lock()
	k.byPath[c.Path()] = c
	k.mu.Unlock()
	if old != nil && old.file != c.file {
		return errors.Join(k.removeFile(old.file), k.removeFile(old.State))
	}
	return nil
}

// remove removes a record and its state.
func (k *checkpoints) remove(c *Checkpoint) error {
	k.commit.Lock()
	defer k.commit.Unlock()
	if k.find(c.Path()) != c {
		return nil // it was replaced meanwhile
	}
	k.mu.Lock()
	delete(k.byPath, c.Path())
	k.mu.Unlock()
	return errors.Join(k.removeFile(c.file), k.removeFile(c.State))
}

func (k *checkpoints) removeFile(name string) error {
	if name == "" {
		return nil
	}
	if err := os.Remove(filepath.Join(k.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return disk.SyncDir(k.dir)
}

func (k *checkpoints) find(p Path) *Checkpoint {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.byPath[p]
}

// count returns how many checkpoints an owner has, and how many there are.
func (k *checkpoints) count(owner string) (own, all int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return countOf(k.byPath, owner, func(c *Checkpoint) string { return c.Owner }), len(k.byPath)
}

// list returns those that keep says yes to, the newest first.
func (k *checkpoints) list(keep func(*Checkpoint) bool) []*Checkpoint {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []*Checkpoint
	for _, c := range k.byPath {
		if keep(c) {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *Checkpoint) int {
		if n := b.Created.Compare(a.Created); n != 0 {
			return n
		}
		return strings.Compare(a.Path().String(), b.Path().String())
	})
	return list
}

// expired returns those whose time has come.
func (k *checkpoints) expired(now time.Time) []*Checkpoint {
	return k.list(func(c *Checkpoint) bool { return !c.Expires.IsZero() && !now.Before(c.Expires) })
}
