package tinker

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// Copy says what is copied, and which run the copy is of.
type Copy struct {
	Source string // its path
	TTL    *int64 // of the copy, in seconds; nil: it does not expire

	SessionID string // with ModelSeq: the run of that number of the session, which has no model; "": a run of its own
	ModelSeq  int64
	Key       string // the same key gives the same run of its own; "": every call gives another
}

// CopyCheckpoint copies a checkpoint, be it the caller's own or a public one, to one of the caller's of the same kind and name in another
// run. What the source becomes of does not matter to the copy. A call that comes again gets the copy that there is.
func (s *Service) CopyCheckpoint(who *Caller, r *Copy) (Path, error) {
	if err := checkTTL(r.TTL); err != nil {
		return Path{}, err
	}
	source, err := s.Checkpoint(who, "source_path", r.Source)
	if err != nil {
		return Path{}, err
	}
	c := *source
	if c.Run, err = s.runOfCopy(who, r); err != nil {
		return Path{}, err
	}
	if there := s.checkpoints.find(c.Path()); there != nil && who.sees(there.Owner) && !s.hasExpired(there) {
		if there.Digest == source.Digest {
			return c.Path(), nil
		}
		return Path{}, invalid("model_seq_id", "is of a run that has another checkpoint %s", c.Path())
	}
	if who.Allow != nil {
		if err := who.Allow(source.Bytes); err != nil {
			return Path{}, invalid("source_path", "cannot be copied: %v", err)
		}
	}
	if source.Owner != who.Owner {
		c.Metadata, c.OfRun = nil, nil // they are its owner's notes
	}
	c.Owner, c.Created, c.Expires, c.Public, c.file = who.Owner, s.o.Now().UTC().Round(time.Millisecond), time.Time{}, false, ""
	if r.TTL != nil {
		c.Expires = c.Created.Add(time.Duration(*r.TTL) * time.Second)
	}
	return c.Path(), s.storeCopy(who, source, &c)
}

// runOfCopy returns the run that a copy is of.
func (s *Service) runOfCopy(who *Caller, r *Copy) (string, error) {
	if r.SessionID == "" {
		if r.Key == "" {
			return newID(8) + copyRun, nil
		}
		sum := sha256.Sum256([]byte(who.Owner + "\x00" + r.Source + "\x00" + r.Key))
		return hex.EncodeToString(sum[:8]) + copyRun, nil
	}
	if r.ModelSeq < 0 {
		return "", invalid("model_seq_id", "is %d, it must be 0 or more", r.ModelSeq)
	}
	id := modelID(r.SessionID, r.ModelSeq)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.session(who, r.SessionID); err != nil {
		return "", err
	}
	if s.models[id] != nil {
		return "", invalid("model_seq_id", "is %d: the session has a model of this number", r.ModelSeq)
	}
	return id, nil
}

// copyRun ends the ids of runs that copies have of their own.
const copyRun = ":copy:0"

// storeCopy stores a copy: its state, then the adapter, and then the record that makes both a checkpoint.
func (s *Service) storeCopy(who *Caller, source, c *Checkpoint) (err error) {
	if c.State != "" {
		if c.State, err = s.copyState(source); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				_ = s.checkpoints.removeFile(c.State) // openCheckpoints removes what is left
			}
		}()
	}
	c.Adapter = adapterName(c.Run, c.Kind+"-"+c.Name)
	if who.Qualify != nil {
		c.Adapter = who.Qualify(c.Adapter)
	}
	ref := adapters.Ref{Name: source.Adapter, Version: source.Digest, Scale: 1}
	note := adapters.Note{Origin: adapters.Origin{Kind: adapters.FromTinker, Detail: c.Path().String()}}
	if _, err := s.o.Store.PutVersion(c.Adapter, ref, note); err != nil {
		return err
	}
	return s.checkpoints.put(c)
}

// copyState copies a state. States never change, so that the copy is another name of the file where the disk has such.
func (s *Service) copyState(source *Checkpoint) (name string, err error) {
	name = newID(12) + stateEnding
	from, to := filepath.Join(s.checkpoints.dir, source.State), filepath.Join(s.checkpoints.dir, name)
	if err = os.Link(from, to); err == nil {
		return name, disk.SyncDir(s.checkpoints.dir)
	}
	f, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w: checkpoint %s has just been deleted or overwritten", ErrUnknown, source.Path())
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	return name, disk.WriteFile(to, 0o600, func(w io.Writer) error {
		_, err := io.Copy(w, f)
		return err
	})
}
