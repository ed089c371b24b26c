package tinker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"sync"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Options are what a Service is made of. Those without a word about their absence are needed.
type Options struct {
	Dir    string // of the checkpoints' files; it belongs to this Service alone
	Model  runtime.Model
	Names  []string // the base model's id and its aliases
	Length int      // most tokens of one sequence: what the engine's context holds

	// NewTrainer makes the Trainer of a model, or returns an error wrapping runtime.ErrTrain or runtime.ErrTrainMemory.
	NewTrainer func(runtime.TrainSpec) (runtime.Trainer, error)
	Work       func(context.Context, runtime.Slicer) error // Engine.Work
	Submit     func(context.Context, runtime.Request) (*runtime.Stream, error)
	Store      *adapters.Store
	Cache      *adapters.Cache
	Memory     int64 // bytes that Trainers may take together; 0: no bound

	Warn func(string)     // is called with what an operator should know, from any goroutine
	Now  func() time.Time // nil: time.Now
}

// Bounds. Those of one request are in datum.go and sample.go.
const (
	maxSessions  = 256
	maxModels    = 64   // alive at once; the memory of training usually ends sooner
	maxSamplers  = 1024 // of one session: those that were not used for the longest time make room
	maxSnapshots = 8    // of one model: weights placed from memory that can be sampled from

	sessionIdle = 5 * time.Minute // without a request, heartbeats included, after which a session ends
	cleanEvery  = 15 * time.Second
)

// Service keeps the state of Tinker's API. Its methods may be called from any goroutine.
type Service struct {
	o           Options
	futures     *futures
	checkpoints *checkpoints
	links       links

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	wg   sync.WaitGroup // of models, samples and the cleaner

	mu       sync.Mutex
	closed   bool
	sessions map[string]*session
	models   map[string]*model
	samplers map[string]*sampler
	slots    map[string]chan struct{} // by owner, for the sequences that it samples
}

// Caller is who makes a call.
type Caller struct {
	Owner   string                    // of whose sessions and checkpoints it sees; "": of everybody's
	Qualify func(name string) string  // the name of an adapter in the caller's namespace; nil: as it is
	Allow   func(bytes int64) error   // whether the caller may store so many bytes more; nil: it may
	Request runtime.Request           // what the caller's requests to the engine have in common
	Admit   func(n int) (Done, error) // lets a request for n answers in, or returns an error; nil: it is let in
}

// Done is told the streams of a request when they have ended.
type Done func([]*runtime.Stream)

// sees reports whether what belongs to owner is the caller's.
func (c *Caller) sees(owner string) bool { return c.Owner == "" || c.Owner == owner }

// Open takes up the checkpoints in o.Dir.
func Open(o Options) (*Service, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	kept, err := openCheckpoints(o.Dir, o.Warn)
	if err != nil {
		return nil, err
	}
	s := &Service{
		o: o, futures: newFutures(o.Now), checkpoints: kept, links: links{now: o.Now},
		sessions: map[string]*session{}, models: map[string]*model{}, samplers: map[string]*sampler{}, slots: map[string]chan struct{}{},
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.wg.Add(1)
	go s.clean()
	return s, nil
}

// Close ends all sessions and waits until nothing of them runs. It may be called twice.
func (s *Service) Close() error {
	s.mu.Lock()
	s.closed = true
	list := make([]*session, 0, len(s.sessions))
	for _, one := range s.sessions {
		list = append(list, one)
	}
	s.mu.Unlock()
	s.stop()
	for _, one := range list {
		s.endSession(one, ErrClosed)
	}
	s.wg.Wait()
	return nil
}

// clean ends sessions that no client uses any more, and removes checkpoints whose time has come.
func (s *Service) clean() {
	defer s.wg.Done()
	tick := time.NewTicker(cleanEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
			s.Clean()
		}
	}
}

// Clean does what is done every few seconds: it ends idle sessions, drops old results and removes expired checkpoints.
func (s *Service) Clean() {
	now := s.o.Now()
	var idle []*session
	s.mu.Lock()
	for _, one := range s.sessions {
		if now.Sub(one.seen) > sessionIdle {
			idle = append(idle, one)
		}
	}
	s.mu.Unlock()
	for _, one := range idle {
		s.endSession(one, ErrExpired)
	}
	s.futures.clean()
	for _, c := range s.checkpoints.expired(now) {
		if err := s.remove(c); err != nil {
			s.o.Warn("Tinker: an expired checkpoint cannot be removed: " + err.Error())
		}
	}
}

// countOf returns how many of things are an owner's.
func countOf[K comparable, T any](things map[K]T, owner string, ownerOf func(T) string) (n int) {
	for _, one := range things {
		if ownerOf(one) == owner {
			n++
		}
	}
	return n
}

// full reports whether there is no room for another thing of an owner, who has n of all, of which there may be most: one owner of
// several may have a part of them.
func full(owner string, n, all, most int) bool {
	return all >= most || owner != "" && n >= most/ownerPart
}

// newID returns an id that nobody can guess.
func newID(bytes int) string {
	id := make([]byte, bytes)
	_, _ = rand.Read(id) // it never fails
	return hex.EncodeToString(id)
}

// BaseName is the name by which the base model is told to clients.
func (s *Service) BaseName() string { return s.o.Names[0] }

// Dir is the folder of the checkpoints' files.
func (s *Service) Dir() string { return s.o.Dir }
