package training

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// TestSampling has an engine whose queue is full now and then, and whose cells clients take away.
func TestSampling(t *testing.T) {
	var mu sync.Mutex
	calls, running, most := 0, 0, 0
	s := sampler{atOnce: 3, common: runtime.Request{MaxTokens: 5, Tenant: "us"}, shown: func(bool) []runtime.Token { return nil }, read: func(_ *question, text string) (string, []any) { return text + "!", nil },
		submit: func(_ context.Context, r runtime.Request) (*runtime.Stream, error) {
			mu.Lock()
			defer mu.Unlock()
			if calls++; calls%4 == 0 {
				return nil, runtime.ErrQueueFull
			}
			if r.Tenant != "us" || r.MaxTokens != 5 || !r.KeepEnd || r.Top != 0 || r.Priority != rolloutPriority {
				t.Errorf("a request %+v", r)
			}
			running++
			most = max(most, running)
			stream, w := runtime.NewStream(nil)
			fails := calls%5 == 0
			go func() {
				time.Sleep(time.Millisecond)
				mu.Lock()
				running--
				mu.Unlock()
				if fails {
					w.Finish(runtime.ErrNoRoom)
					return
				}
				id := runtime.Token(r.Sampling.Seed)
				w.Send(runtime.Event{Text: "a", Tokens: []runtime.TokenText{{Token: id, Logprob: -1}}})
				w.Send(runtime.Event{Text: "b", Tokens: []runtime.TokenText{{Token: id + 1, Logprob: -2}}, Finish: runtime.FinishLength})
				w.Finish(nil)
			}()
			return stream, nil
		}}
	var list []question
	for i := range 12 {
		list = append(list, question{prompt: []runtime.Token{1}, seed: uint64(100 * i)})
	}
	answers, err := s.sample(t.Context(), list, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range answers {
		if a.text != "ab!" || !a.cut || !slices.Equal(a.tokens, []runtime.Token{runtime.Token(100 * i), runtime.Token(100*i + 1)}) || !slices.Equal(a.logprobs, []float32{-1, -2}) {
			t.Errorf("answer %d is %+v", i, a)
		}
	}
	if most > 3 || calls < 15 {
		t.Errorf("%d requests at once, %d in all", most, calls)
	}
	s.submit = func(context.Context, runtime.Request) (*runtime.Stream, error) { return nil, runtime.ErrDraining }
	if _, err := s.sample(t.Context(), list, nil); !errors.Is(err, runtime.ErrDraining) {
		t.Errorf("while the server stops: %v", err)
	}
	s.submit = func(context.Context, runtime.Request) (*runtime.Stream, error) { return nil, runtime.ErrQueueFull }
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := s.sample(ctx, list, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a queue that stays full: %v", err)
	}
}
