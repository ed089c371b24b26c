package tinker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/internal/disk"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

const stateEnding = ".state"

// Bounds of how long a checkpoint may be kept, in seconds.
const (
	minTTL = 1
	maxTTL = 10 * 366 * 24 * 3600
)

// Save is a call that stores a checkpoint.
type Save struct {
	Kind      string
	Name      string
	TTL       *int64 // seconds; nil: it does not expire
	Overwrite bool   // one of the same name
	Metadata  map[string]string
}

// Saved is the result of Save.
type Saved struct{ Path string }

// SavedForSampler is the result of SaveForSampler: one of the two is set.
type SavedForSampler struct{ Path, SamplerID string }

// SavedExternal is the result of SaveExternal.
type SavedExternal struct {
	Path  string
	Bytes int64 // on the disk
}

// SaveExternal adds a model's call that stores an adapter to be used elsewhere. The future's result is a *SavedExternal.
func (s *Service) SaveExternal(who *Caller, id string, seq int64, r *Save) (*Future, error) {
	return s.addSave(who, id, seq, r, func(c *Checkpoint) any { return &SavedExternal{c.Path().String(), c.Bytes} })
}

// Save adds a model's call that stores a checkpoint. The future's result is a *Saved.
func (s *Service) Save(who *Caller, id string, seq int64, r *Save) (*Future, error) {
	return s.addSave(who, id, seq, r, func(c *Checkpoint) any { return &Saved{c.Path().String()} })
}

// SaveForSampler adds a model's call that makes its weights ready to be sampled from: in a checkpoint, where r has a name, or
// in memory, for the session's sampling session number samplerSeq. The future's result is a *SavedForSampler.
func (s *Service) SaveForSampler(who *Caller, id string, seq int64, r *Save, samplerSeq int64) (*Future, error) {
	if r.Name != "" {
		return s.addSave(who, id, seq, r, func(c *Checkpoint) any { return &SavedForSampler{Path: c.Path().String()} })
	}
	if err := checkSeq(seq); err != nil {
		return nil, err
	}
	if samplerSeq < 0 {
		return nil, invalid("sampling_session_seq_id", "is %d, it must be 0 or more", samplerSeq)
	}
	m, err := s.model(who, id)
	if err != nil {
		return nil, err
	}
	return m.submit(seq, 0, nil, func(ctx context.Context) (any, error) { return m.snapshot(ctx, who, samplerSeq) })
}

func (s *Service) addSave(who *Caller, id string, seq int64, r *Save, result func(*Checkpoint) any) (*Future, error) {
	if err := checkSeq(seq); err != nil {
		return nil, err
	}
	if err := errors.Join(checkName("path", r.Name), checkTTL(r.TTL), checkMetadata(r.Metadata)); err != nil {
		return nil, err
	}
	m, err := s.model(who, id)
	if err != nil {
		return nil, err
	}
	return m.submit(seq, 0, nil, func(context.Context) (any, error) {
		c, err := m.save(who, r)
		if err != nil {
			return nil, err
		}
		return result(c), nil
	})
}

func checkTTL(seconds *int64) error {
	if seconds != nil && (*seconds < minTTL || *seconds > maxTTL) {
		return invalid("ttl_seconds", "is %d, it must be from %d to %d", *seconds, minTTL, maxTTL)
	}
	return nil
}

// save stores the adapter, and for training the Trainer's state, and then the record that makes both a checkpoint.
func (m *model) save(who *Caller, r *Save) (_ *Checkpoint, err error) {
	s := m.service
	c := &Checkpoint{
		Run: m.id, Kind: r.Kind, Name: r.Name, Owner: m.owner, Created: s.o.Now().UTC().Round(time.Millisecond), Config: m.config,
		Base: s.o.Model.Facts().Fingerprint, Model: s.BaseName(), Steps: m.steps, Metadata: r.Metadata, OfRun: m.metadata,
		Adapter: m.adapterName(r.Kind + "-" + r.Name),
	}
	c.Config.Seed = m.seed
	if who.Qualify != nil {
		c.Adapter = who.Qualify(c.Adapter)
	}
	if r.TTL != nil {
		c.Expires = c.Created.Add(time.Duration(*r.TTL) * time.Second)
	}
	old := s.checkpoints.find(c.Path())
	if old != nil && !r.Overwrite {
		return nil, invalid("path", "is %q: there is a checkpoint of this name; set overwrite, or give another name", r.Name)
	}
	need := m.trainer.Memory().Own
	if who.Allow != nil {
		if err := who.Allow(need); err != nil {
			return nil, invalid("path", "cannot be stored: %v", err)
		}
	}
	if r.Kind == KindTraining {
		if c.State, err = s.writeState(m.trainer); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				_ = s.checkpoints.removeFile(c.State) // openCheckpoints removes what is left
			}
		}()
	}
	info, err := s.o.Store.PutLoRA(c.Adapter, m.trainer, adapters.Note{Origin: adapters.Origin{Kind: adapters.FromTinker, Detail: c.Path().String()}})
	if err != nil {
		return nil, err
	}
	c.Digest, c.Bytes = info.Digest, info.Bytes+s.stateBytes(c)
	if err := s.checkpoints.put(c); err != nil {
		if old == nil {
			err = errors.Join(err, s.o.Store.Delete(c.Adapter, adapters.Origin{Kind: adapters.FromTinker, Detail: c.Path().String()}))
		}
		return nil, err
	}
	return c, nil
}

// writeState writes a Trainer's state to a file of its own.
func (s *Service) writeState(t runtime.Trainer) (name string, err error) {
	name = newID(12) + stateEnding
	return name, disk.WriteFile(filepath.Join(s.checkpoints.dir, name), 0o600, func(f io.Writer) error { return t.WriteState(f) })
}

func (s *Service) stateBytes(c *Checkpoint) int64 {
	if c.State == "" {
		return 0
	}
	info, err := os.Stat(filepath.Join(s.checkpoints.dir, c.State))
	if err != nil {
		return 0
	}
	return info.Size()
}

// Load is a call that gives a model the weights of a checkpoint.
type Load struct {
	Path      string
	Optimizer bool // and the optimizer's state
}

// Loaded is the result of Load and CreateFrom.
type Loaded struct{ Path, ModelID string }

// Load adds a model's call. The checkpoint must be of the same configuration. The future's result is a *Loaded.
func (s *Service) Load(who *Caller, id string, seq int64, r *Load) (*Future, error) {
	if err := checkSeq(seq); err != nil {
		return nil, err
	}
	c, err := s.loadable(who, r.Path)
	if err != nil {
		return nil, err
	}
	m, err := s.model(who, id)
	if err != nil {
		return nil, err
	}
	return m.submit(seq, 0, nil, func(context.Context) (any, error) {
		if a, b := m.config, c.Config; a.Rank != b.Rank || a.Attn != b.Attn || a.MLP != b.MLP || a.Unembed != b.Unembed {
			return nil, invalid("path", "is of a model with another lora_config: rank %d, train_attn %v, train_mlp %v, train_unembed %v", b.Rank, b.Attn, b.MLP, b.Unembed)
		}
		return m.load(who, r)
	})
}

// CreateFrom makes a model from a checkpoint, the session's number seq. The future's result is a *Loaded.
func (s *Service) CreateFrom(who *Caller, sessionID string, seq int64, base string, r *Load, metadata map[string]string) (*Future, error) {
	if base != "" {
		if err := s.checkBase(base); err != nil {
			return nil, err
		}
	}
	c, err := s.loadable(who, r.Path)
	if err != nil {
		return nil, err
	}
	return s.addModel(who, sessionID, seq, c.Config, metadata, func(_ context.Context, m *model) (any, error) {
		if err := m.open(); err != nil {
			return nil, err
		}
		loaded, err := m.load(who, r)
		if err != nil { // a model without weights is none
			err = errors.Join(err, m.trainer.Close())
			m.trainer = nil
		}
		return loaded, err
	})
}

// loadable returns a checkpoint that training can go on from.
func (s *Service) loadable(who *Caller, path string) (*Checkpoint, error) {
	c, err := s.Checkpoint(who, "path", path)
	switch {
	case err != nil:
		return nil, err
	case c.Kind != KindTraining:
		return nil, invalid("path", "is %q, which has no state to train on from: save_state (tinker://RUN/%s/NAME) makes one that has", path, KindTraining)
	case c.Base != s.o.Model.Facts().Fingerprint:
		return nil, invalid("path", "is of another base model, %q", c.Model)
	}
	return c, nil
}

// load gives the model the weights of a checkpoint, and its optimizer's state where it is asked for. After an error the model
// has the weights that it had, or has ended where they are lost.
func (m *model) load(who *Caller, r *Load) (any, error) {
	s := m.service
	c, err := s.loadable(who, r.Path) // it may have been deleted or overwritten since the call came
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(s.checkpoints.dir, c.State))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: checkpoint %s has just been deleted or overwritten", ErrUnknown, c.Path())
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint %s: %w", c.Path(), err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	m.trainer.Reseed(c.Config.Seed) // a state goes with its seed, of which nothing but the first values depends
	if err := m.trainer.ReadState(f, info.Size()); err != nil {
		m.trainer.Reseed(m.seed)
		err = fmt.Errorf("checkpoint %s: %w", c.Path(), err)
		if !errors.Is(err, runtime.ErrTrain) { // some of it was read
			m.end(fmt.Errorf("%w: the model has lost its weights: %w", ErrExpired, err))
		}
		return nil, err
	}
	m.seed = c.Config.Seed
	m.gradients, m.steps = false, c.Steps
	if !r.Optimizer {
		m.steps = 0
		if err := m.trainer.ResetOptimizer(); err != nil {
			return nil, err
		}
	}
	return &Loaded{c.Path().String(), m.id}, nil
}
