package tinker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Bounds of one call of Sample.
const (
	maxSamples    = 256
	maxStops      = 64
	maxStop       = 1024 // bytes
	maxTop        = 20
	maxTopScores  = 1 << 20 // log-probabilities of prompt tokens
	waitWhileFull = 20 * time.Millisecond

	maxRunning = 256 // sequences of one owner, of all its calls, that are handed to the engine at a time
)

// Sample is a call that samples sequences after a prompt.
type Sample struct {
	SamplerID string // or, where it is "", of what is sampled:
	Base      string
	Path      string

	Seq       int64 // number of the call in its sampling session
	Prompt    []runtime.Token
	N         int
	MaxTokens int // 0: as many as the context holds

	Temperature float32
	TopK        int // <= 0: all
	TopP        float32
	Seed        *uint64
	StopTexts   []string
	StopTokens  []runtime.Token
	NoStop      bool // nothing ends a sequence but its length

	PromptLogProbs bool
	LastN          int // of the prompt's tokens that have log-probabilities; 0: all but the first
	PromptTop      int // likeliest tokens in the place of each prompt token
	Top            int // likeliest tokens in the place of each sampled token
}

// Sequence is a sampled sequence. The token that ended it is its last.
type Sequence struct {
	Tokens []runtime.TokenText
	Ended  bool // by a stop; else it is as long as it may be
}

// SampleResult is the result of Sample.
type SampleResult struct {
	Sequences []Sequence
	Prompt    []runtime.TokenText // from the second token on; nil where it was not asked for
	Cached    int                 // tokens of the prompt that were not computed again

	Scored         bool // the prompt was asked for; LastN, PromptTop and Top are those of the call
	LastN          int
	PromptTop, Top int
}

func (r *SampleResult) bytes() (n int64) {
	const each = 64
	for i := range r.Sequences {
		n += int64(len(r.Sequences[i].Tokens)) * each
		for j := range r.Sequences[i].Tokens {
			n += 8 * int64(len(r.Sequences[i].Tokens[j].Top))
		}
	}
	for i := range r.Prompt {
		n += each + 8*int64(len(r.Prompt[i].Top))
	}
	return n
}

// check returns a FieldError for the first thing that is wrong.
func (r *Sample) check(context, vocabulary int) error {
	for _, b := range []struct {
		field       string
		value       int
		least, most int
	}{
		{"num_samples", r.N, 1, maxSamples}, {"sampling_params.max_tokens", r.MaxTokens, 0, 1<<31 - 1},
		{"topk_prompt_logprobs", r.PromptTop, 0, maxTop}, {"topk_sample_logprobs", r.Top, 0, maxTop},
		{"stop", len(r.StopTexts) + len(r.StopTokens), 0, maxStops}, {"prompt_logprobs_last_n", r.LastN, 0, max(0, len(r.Prompt)-1)},
	} {
		if b.value < b.least || b.value > b.most {
			return invalid(b.field, "is %d, it must be from %d to %d", b.value, b.least, b.most)
		}
	}
	switch {
	case len(r.Prompt) == 0:
		return invalid("prompt", "is empty")
	case len(r.Prompt) >= context:
		return invalid("prompt", "has %d tokens, the context holds %d with the answer", len(r.Prompt), context)
	case !(r.Temperature >= 0 && r.Temperature <= 100):
		return invalid("sampling_params.temperature", "is %v, it must be from 0 to 100", r.Temperature)
	case !(r.TopP > 0 && r.TopP <= 1):
		return invalid("sampling_params.top_p", "is %v, it must be above 0, at most 1", r.TopP)
	case len(r.Prompt)*(r.PromptTop+1) > maxTopScores:
		return invalid("topk_prompt_logprobs", "would be %d numbers, at most %d are given", len(r.Prompt)*(r.PromptTop+1), maxTopScores)
	}
	for _, t := range slices.Concat(r.Prompt, r.StopTokens) {
		if t < 0 || int(t) >= vocabulary {
			return invalid("prompt", "or stop has the token %d, the vocabulary has %d", t, vocabulary)
		}
	}
	for _, t := range r.StopTexts {
		if t == "" || len(t) > maxStop {
			return invalid("sampling_params.stop", "has a text of %d bytes, each has 1 to %d", len(t), maxStop)
		}
	}
	return nil
}

// Sample starts a call. The future's result is a *SampleResult.
func (s *Service) Sample(who *Caller, r *Sample) (*Future, error) {
	if err := r.check(s.o.Length, s.o.Model.Facts().VocabSize); err != nil {
		return nil, err
	}
	p, id := &sampler{owner: who.Owner}, newID(12)+":sample"
	var err error
	switch {
	case r.SamplerID != "":
		if p, err = s.sampler(who, r.SamplerID); err != nil {
			return nil, err
		}
		id = p.id + ":" + strconv.FormatInt(r.Seq, 10)
	case r.Path != "":
		ref, err := s.AdapterOf(who, "model_path", r.Path)
		if err != nil {
			return nil, err
		}
		p.ref = &ref
	default:
		if err := s.checkBase(r.Base); err != nil {
			return nil, err
		}
	}
	parent := s.ctx
	if p.session != nil {
		parent = p.session.ctx
	}
	ctx, cancel := context.WithCancel(parent)
	f := &Future{ID: id, owner: p.owner, size: 4 * int64(len(r.Prompt)), cancel: cancel}
	for i := range r.N {
		f.Samples = append(f.Samples, id+":"+strconv.Itoa(i))
	}
	there, made, err := s.futures.add(f, false)
	if err != nil || !made {
		cancel()
		return there, err
	}
	if err := s.startSample(ctx, who, p, r, f); err != nil {
		cancel()
		s.futures.end(f, nil, err, 0)
		s.futures.forget(f) // it was answered with this error, and may be asked again
		return nil, err
	}
	return f, nil
}

// startSample has a call done in a goroutine of its own.
func (s *Service) startSample(ctx context.Context, who *Caller, p *sampler, r *Sample, f *Future) error {
	selection, err := s.selection(p)
	if err != nil {
		return err
	}
	done := Done(func([]*runtime.Stream) {})
	if who.Admit != nil {
		done, err = who.Admit(r.N)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && s.closed {
		done(nil)
		err = ErrClosed
	}
	if err != nil {
		if selection != nil {
			selection.Release()
		}
		return err
	}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		defer f.cancel()
		result, err := s.sample(ctx, f.owner, who.Request, selection, r, done)
		if selection != nil {
			selection.Release()
		}
		if err == nil {
			s.futures.end(f, result, nil, result.bytes())
			return
		}
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("%w: the call was cancelled: %w", ErrExpired, cause)
		}
		if category, _ := Category(err); category == CategoryServer {
			s.o.Warn(fmt.Sprintf("Tinker: call %s failed: %v", f.ID, err))
		}
		s.futures.end(f, nil, err, 0)
	}()
	return nil
}

// sample samples all sequences of a call. The first one reads the prompt; the others begin when it has, and share it.
func (s *Service) sample(ctx context.Context, owner string, request runtime.Request, selection *adapters.Selection, r *Sample, done Done) (*SampleResult, error) {
	request.Prompt, request.MaxTokens, request.KeepEnd, request.Exact = r.Prompt, r.MaxTokens, true, true
	if selection != nil {
		request.Adapters = selection
	}
	request.Sampling = runtime.Sampling{Temperature: r.Temperature, TopK: max(0, r.TopK), TopP: r.TopP, IgnoreEOS: r.NoStop}
	seed := rand.Uint64()
	if r.Seed != nil {
		seed = *r.Seed
	}
	stop := s.newStop(r)
	result := &SampleResult{Sequences: make([]Sequence, r.N), Scored: r.PromptLogProbs || r.PromptTop > 0, LastN: r.LastN, PromptTop: r.PromptTop, Top: r.Top}
	streams, errs := make([]*runtime.Stream, r.N), make([]error, r.N)
	defer func() { done(slices.DeleteFunc(streams, func(o *runtime.Stream) bool { return o == nil })) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := make(chan struct{})
	var wg sync.WaitGroup
	slots := s.slotsOf(owner)
	for i := range r.N {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			errs[i] = ctx.Err()
			continue
		}
		one := request
		one.Sampling.Seed, one.Top = seed+uint64(i), r.Top
		if i == 0 && result.Scored {
			one.Score, one.Top = true, max(r.Top, r.PromptTop)
		}
		first := func() {}
		if i == 0 {
			first = sync.OnceFunc(func() { close(began) })
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() { <-slots }()
			defer first()
			if streams[i], errs[i] = s.submit(ctx, one); errs[i] == nil {
				errs[i] = read(ctx, streams[i], stop, first, &result.Sequences[i], &result.Prompt)
			}
			if errs[i] != nil {
				cancel()
			}
		}()
		if i == 0 {
			<-began
		}
	}
	wg.Wait()
	if err := firstError(errs); err != nil {
		return nil, err
	}
	result.Cached = streams[0].Usage().Cached
	return result, nil
}

// slotsOf returns what holds a value for each sequence of an owner's that the engine has, or is being asked to take.
func (s *Service) slotsOf(owner string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	slots := s.slots[owner]
	if slots == nil {
		slots = make(chan struct{}, maxRunning)
		s.slots[owner] = slots
	}
	return slots
}

// firstError returns the first error that is more than the end of what another one had cancelled.
func firstError(errs []error) (first error) {
	for _, err := range errs {
		if err != nil && (first == nil || errors.Is(first, context.Canceled)) {
			first = err
		}
	}
	return first
}

// submit hands a request to the engine; where its queue is full, it waits.
func (s *Service) submit(ctx context.Context, r runtime.Request) (*runtime.Stream, error) {
	for {
		stream, err := s.o.Submit(ctx, r)
		if !errors.Is(err, runtime.ErrQueueFull) {
			return stream, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(waitWhileFull):
		}
	}
}

// read collects a sequence up to its end. first is called with the first event. prompt receives the scores of the prompt,
// where there are any.
func read(ctx context.Context, stream *runtime.Stream, stop *stop, first func(), out *Sequence, prompt *[]runtime.TokenText) error {
	defer stream.Close()
	matcher := stop.matcher()
	for {
		ev, err := stream.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		first()
		if ev.Prompt != nil {
			*prompt = ev.Prompt
		}
		for _, t := range ev.Tokens {
			out.Tokens = append(out.Tokens, t)
			if matcher.ends(t) {
				out.Ended = true
				return nil
			}
		}
		if ev.Finish != "" {
			out.Ended = ev.Finish == runtime.FinishStop
		}
	}
}
