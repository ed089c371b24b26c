// Package stress puts a server under load: training jobs are created, cancelled, resumed and made to fail at random while
// clients chat, and at the end everything is counted. bench/soak runs it for long, the tests for a few seconds.
package stress

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Options say how hard.
type Options struct {
	URL      string
	Jobs     int // that the server must accept
	Clients  int // that chat all the while
	Steps    int // of the longest job
	Seed     uint64
	Resident func() (int64, error) // memory of the server
}

// Question is what the clients ask, of the base or an adapter.
type Question struct {
	Adapter any // nil for the base
	Text    string
}

// Report is what came of it. Nothing is well unless Faults is empty.
type Report struct {
	Answers                                         int
	Accepted, Refused, Succeeded, Cancelled, Failed int
	Resumed                                         int
	Early, Late                                     int64 // resident bytes: the median of the second quarter of the time, and of the last
	Faults                                          []string
}

// Growth is how much more memory there was late than early.
func (r *Report) Growth() float64 { return float64(r.Late)/float64(r.Early) - 1 }

// run is one run under way.
type run struct {
	client
	o       Options
	rng     *rand.Rand // of the goroutine that makes the jobs
	answers map[Question]string

	mu     sync.Mutex
	report Report
	memory []int64
}

// Run loads the server until all jobs have ended. The questions' right answers are what the server says before.
func Run(ctx context.Context, o Options, questions []Question) (Report, error) {
	r := &run{client: client{o.URL}, o: o, rng: rand.New(rand.NewPCG(o.Seed, 1)), answers: map[Question]string{}}
	for _, q := range questions {
		text, err := r.ask(ctx, q)
		if err != nil {
			return Report{}, err
		}
		r.answers[q] = text
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var others sync.WaitGroup
	for i := range o.Clients {
		others.Go(func() { r.chat(ctx, questions, rand.New(rand.NewPCG(o.Seed, uint64(i)+2))) })
	}
	if o.Resident != nil {
		others.Go(func() { r.watch(ctx) })
	}
	jobs, err := r.runJobs(ctx)
	cancel()
	others.Wait()
	if err != nil {
		return r.report, err
	}
	r.checkJobs(jobs)
	if n := len(r.memory); n >= 8 {
		r.report.Early, r.report.Late = median(r.memory[n/4:n/2]), median(r.memory[n-n/4:])
	}
	return r.report, nil
}

func median(list []int64) int64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

// fault notes something that is not well.
func (r *run) fault(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Faults = append(r.report.Faults, fmt.Sprintf(format, args...))
}

// chat asks one question after the other.
func (r *run) chat(ctx context.Context, questions []Question, rng *rand.Rand) {
	for ctx.Err() == nil {
		q := questions[rng.IntN(len(questions))]
		text, err := r.ask(ctx, q)
		switch {
		case errors.Is(err, context.Canceled) || ctx.Err() != nil:
			return
		case err != nil:
			r.fault("%v was not answered: %v", q, err)
		case text != r.answers[q]:
			r.fault("%v was answered %q, and %q before", q, text, r.answers[q])
		}
		r.mu.Lock()
		r.report.Answers++
		r.mu.Unlock()
	}
}

// watch notes the server's memory.
func (r *run) watch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
		n, err := r.o.Resident()
		if err != nil {
			r.fault("its memory: %v", err)
			return
		}
		r.memory = append(r.memory, n)
	}
}
