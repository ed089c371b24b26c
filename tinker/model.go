package tinker

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Config is what an adapter is trained with.
type Config struct {
	Rank    int    `json:"rank"`
	Seed    uint64 `json:"seed"`
	Attn    bool   `json:"train_attn"`
	MLP     bool   `json:"train_mlp"`
	Unembed bool   `json:"train_unembed"` // false where the base has no head of its own
}

// Alpha is lora_alpha of every model: the update is scaled by Alpha / Rank, as Tinker does it.
const Alpha = 32

// maxRank bounds the rank of an adapter, as adapters are kept.
const maxRank = 512

// model is an adapter in training. Its calls are done in the order of their numbers by one goroutine.
type model struct {
	id       string
	owner    string
	session  *session
	service  *Service
	config   Config
	metadata map[string]string
	created  time.Time
	ctx      context.Context
	end      context.CancelCauseFunc

	// Of the goroutine that works.
	trainer   runtime.Trainer
	copied    *runtime.LoRA // of the last call of weights; nil: there was none
	maxTokens int           // of a micro-batch
	gradients bool          // there are gradients of calls since the last step
	seed      uint64        // of the Trainer: the configuration's, or that of the checkpoint that was loaded
	steps     int64
	snapshots []*sampler // of the weights in memory, the oldest first

	mu      sync.Mutex // guards what follows
	next    int64      // number of the next call
	waiting map[int64]*call
	seen    time.Time
	ended   bool          // no further call is done
	wake    chan struct{} // holds one value when there is something new
}

// call is one call of a model.
type call struct {
	future *Future
	do     func(context.Context) (any, error)
	size   func(result any) int64 // bytes of the result; nil: hardly any
}

// maxAhead bounds how far the number of a call may be ahead of the next one.
const maxAhead = 1 << 14

// CreateModel makes a model, the session's number seq. The future's result is a *ModelCreated.
func (s *Service) CreateModel(who *Caller, sessionID string, seq int64, base string, c Config, metadata map[string]string) (*Future, error) {
	if err := s.checkConfig(base, &c); err != nil {
		return nil, err
	}
	return s.addModel(who, sessionID, seq, c, metadata, func(ctx context.Context, m *model) (any, error) {
		if err := m.begin(ctx); err != nil {
			return nil, err
		}
		return &ModelCreated{m.id}, nil
	})
}

// ModelCreated is the result of CreateModel.
type ModelCreated struct{ ModelID string }

// Unloaded is the result of UnloadModel.
type Unloaded struct{ ModelID string }

// addModel makes a model whose first call, with the number 0, is first.
func (s *Service) addModel(who *Caller, sessionID string, seq int64, c Config, metadata map[string]string, first func(context.Context, *model) (any, error)) (*Future, error) {
	if seq < 0 {
		return nil, invalid("model_seq_id", "is %d, it must be 0 or more", seq)
	}
	if err := checkMetadata(metadata); err != nil {
		return nil, err
	}
	s.mu.Lock()
	one, err := s.session(who, sessionID)
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	m := s.models[modelID(sessionID, seq)]
	if first := s.futures.find(callID(modelID(sessionID, seq), 0)); m == nil && first != nil { // it has ended, or was never made
		s.mu.Unlock()
		return first, nil
	}
	if m == nil {
		if n := countOf(s.models, one.owner, func(o *model) string { return o.owner }); full(one.owner, n, len(s.models), maxModels) {
			s.mu.Unlock()
			return nil, fmt.Errorf("%w: %d models are there; finish sessions or unload models that are not needed any more", ErrTooMany, n)
		}
		m = &model{
			id: modelID(sessionID, seq), owner: one.owner, session: one, service: s, config: c, seed: c.Seed, metadata: metadata, created: s.o.Now(),
			waiting: map[int64]*call{}, wake: make(chan struct{}, 1), seen: s.o.Now(),
		}
		m.ctx, m.end = context.WithCancelCause(one.ctx)
		s.models[m.id] = m
		one.models = append(one.models, m)
		s.wg.Add(1)
		go m.work()
	}
	s.mu.Unlock()
	return m.submit(0, 0, nil, func(ctx context.Context) (any, error) { return first(ctx, m) })
}

// checkConfig checks what a model is to be, and sets what follows from the base.
func (s *Service) checkConfig(base string, c *Config) error {
	if err := s.checkBase(base); err != nil {
		return err
	}
	if c.Rank < 1 || c.Rank > maxRank {
		return invalid("lora_config.rank", "is %d, it must be from 1 to %d", c.Rank, maxRank)
	}
	c.Unembed = c.Unembed && !s.o.Model.Facts().TiedHead
	if len(s.modules(c)) == 0 {
		return invalid("lora_config", "trains nothing of this base: set train_attn or train_mlp")
	}
	return nil
}

func (s *Service) checkBase(base string) error {
	for _, name := range s.o.Names {
		if base == name {
			return nil
		}
	}
	return invalid("base_model", "is %.200q, this server has %q", base, s.BaseName())
}

// model returns a model of the caller's and notes that it is used.
func (s *Service) model(who *Caller, id string) (*model, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.models[id]
	if m == nil || !who.sees(m.owner) {
		return nil, fmt.Errorf("%w: model %.120q does not exist, or its session has ended", ErrUnknown, id)
	}
	_, err := s.session(who, m.session.ID)
	return m, err
}

// ModelInfo describes a model.
type ModelInfo struct {
	ID     string
	Config Config
}

// Info describes a model.
func (s *Service) Info(who *Caller, id string) (ModelInfo, error) {
	m, err := s.model(who, id)
	if err != nil {
		return ModelInfo{}, err
	}
	return ModelInfo{m.id, m.config}, nil
}

// UnloadModel ends a model; its calls that have not ended fail. The future's result is an *Unloaded.
func (s *Service) UnloadModel(who *Caller, id string) (*Future, error) {
	m, err := s.model(who, id)
	if err != nil {
		return nil, err
	}
	f, made, err := s.futures.add(&Future{ID: id + ":unload", ModelID: id, owner: m.owner}, true)
	if err != nil || !made {
		return f, err
	}
	s.mu.Lock()
	delete(s.models, id)
	s.mu.Unlock()
	m.end(fmt.Errorf("%w: the model was unloaded", ErrExpired))
	s.futures.end(f, &Unloaded{id}, nil, 0)
	return f, nil
}

// submit adds the call with a number, or returns the future that the number got before. size is how many bytes the call
// holds.
func (m *model) submit(seq, size int64, resultSize func(any) int64, do func(context.Context) (any, error)) (*Future, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = m.service.o.Now()
	if seq > m.next+maxAhead {
		return nil, invalid("seq_id", "is %d, and the call %d has not come yet", seq, m.next)
	}
	id := callID(m.id, seq)
	made := &Future{ID: id, ModelID: m.id, owner: m.owner, size: size}
	if seq < m.next { // it was taken up, and is not done again, also where its result is not kept any more
		return made, nil
	}
	f, isNew, err := m.service.futures.add(made, seq == m.next)
	if err != nil || !isNew {
		return f, err
	}
	if m.ended {
		m.service.futures.end(f, nil, context.Cause(m.ctx), 0)
		return f, nil
	}
	m.waiting[seq] = &call{f, do, resultSize}
	m.signal()
	return f, nil
}

// callID is the id of a model's call.
func callID(model string, seq int64) string { return model + ":" + strconv.FormatInt(seq, 10) }

func (m *model) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// work does the calls in their order until the model ends.
func (m *model) work() {
	defer m.service.wg.Done()
	defer m.close()
	for {
		c := m.take()
		if c == nil {
			return
		}
		result, err := m.perform(c)
		var size int64
		if err == nil && c.size != nil {
			size = c.size(result)
		}
		m.service.futures.end(c.future, result, err, size)
		if m.trainer == nil { // it could not be made
			m.end(fmt.Errorf("the model was not made: %w", err))
		}
	}
}

// perform does a call. A failure that is the server's is told to the operator, and so is a panic.
func (m *model) perform(c *call) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			result, err = nil, fmt.Errorf("panic: %v", p)
		}
		if ended := context.Cause(m.ctx); err != nil && ended != nil {
			err = ended
		}
		if category, _ := Category(err); err != nil && category == CategoryServer {
			m.service.o.Warn(fmt.Sprintf("Tinker: call %s failed: %v", c.future.ID, err))
		}
	}()
	return c.do(m.ctx)
}

// take waits for the next call; nil: the model has ended.
func (m *model) take() *call {
	for {
		m.mu.Lock()
		c := m.waiting[m.next]
		if c != nil && m.ctx.Err() == nil {
			delete(m.waiting, m.next)
			m.next++
			m.mu.Unlock()
			return c
		}
		m.mu.Unlock()
		select {
		case <-m.ctx.Done():
			return nil
		case <-m.wake:
		}
	}
}

// close lets go what the model has, and fails what waits.
func (m *model) close() {
	if m.trainer != nil {
		if err := m.trainer.Close(); err != nil {
			m.service.o.Warn("Tinker: closing a model: " + err.Error())
		}
	}
	m.mu.Lock()
	m.ended = true
	waiting := m.waiting
	m.waiting = nil
	m.mu.Unlock()
	for _, c := range waiting {
		m.service.futures.end(c.future, nil, context.Cause(m.ctx), 0)
	}
	s := m.service
	s.mu.Lock()
	delete(s.models, m.id)
	m.session.models = slices.DeleteFunc(m.session.models, func(o *model) bool { return o == m })
	s.mu.Unlock()
}
