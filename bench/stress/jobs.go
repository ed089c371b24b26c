package stress

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// job is a training job that the server has accepted, and what is known of it.
type job struct {
	id, name  string
	diverges  bool
	cancels   []int // the steps at which it is still to be cancelled, rising; 0: while it waits
	resumes   int   // how often it is still to be resumed after that, or after it failed
	cancelled bool  // by the last thing that was done to it
}

// state is what the server says of a job.
type state struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Status string `json:"status"`
	Error  *struct{ Code, Message string }
	Result *struct{ Name, Version string }

	Progress struct{ Step int }
}

func (s *state) ended() bool {
	return s.Status == "succeeded" || s.Status == "failed" || s.Status == "cancelled"
}

// runJobs creates the jobs, and cancels and resumes them, until all have ended.
func (r *run) runJobs(ctx context.Context) ([]*job, error) {
	var jobs []*job
	for {
		if len(jobs) < r.o.Jobs && r.rng.IntN(3) > 0 {
			j, err := r.create(ctx, len(jobs))
			if err != nil {
				return nil, err
			}
			if j != nil {
				jobs = append(jobs, j)
			}
		}
		unfinished := 0
		for _, j := range jobs {
			goesOn, err := r.cancelOrResume(ctx, j)
			if err != nil {
				return nil, err
			}
			if goesOn {
				unfinished++
			}
		}
		if unfinished == 0 && len(jobs) == r.o.Jobs {
			return jobs, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Duration(20+r.rng.IntN(60)) * time.Millisecond):
		}
	}
}

// create asks for a job: most are sound, some diverge, and some are so bad that the server must refuse them, for
// which it returns nil.
func (r *run) create(ctx context.Context, n int) (*job, error) {
	j, steps, kind := &job{name: fmt.Sprintf("stress-%d", n%4)}, 3+r.rng.IntN(r.o.Steps), r.rng.IntN(10)
	body := map[string]any{"name": j.name, "examples": examples(), "max_steps": steps, "r": 4, "save_steps": 5, "seed": n}
	if kind == 0 {
		body["examples"] = []any{map[string]any{"nothing": "to learn"}}
	}
	if j.diverges = kind == 1 || kind == 2; j.diverges {
		body["learning_rate"], body["lora_alpha"], body["max_grad_norm"] = 1, 1e30, 0
		j.resumes = r.rng.IntN(3)
	} else {
		r.planCancels(j, steps)
	}
	var s state
	status, err := r.call(ctx, http.MethodPost, "/adapters/train", body, &s)
	switch {
	case kind == 0 && status == http.StatusBadRequest:
		r.report.Refused++
		return nil, nil
	case err != nil:
		return nil, err
	case kind == 0:
		return nil, fmt.Errorf("a job without data was accepted")
	}
	j.id = s.ID
	r.report.Accepted++
	return j, nil
}

// planCancels draws when a job of so many steps is cancelled, if it is, and whether it stays so: half of the jobs run through
// from the first, and of the others most are resumed and end well.
func (r *run) planCancels(j *job, steps int) {
	for range max(0, r.rng.IntN(4)-1) {
		j.cancels = append(j.cancels, r.rng.IntN(steps)/2*r.rng.IntN(3))
	}
	slices.Sort(j.cancels)
	if j.resumes = len(j.cancels); j.resumes > 0 && r.rng.IntN(3) == 0 {
		j.resumes--
	}
}

func examples() []any {
	var list []any
	for i := range 24 {
		list = append(list, map[string]any{"prompt": fmt.Sprintf("What is %d plus %d?", i, i+1), "completion": fmt.Sprintf("Arr! It be %d.", 2*i+1)})
	}
	return list
}

// cancelOrResume cancels or resumes a job where that is due, or leaves it alone. It reports whether the job is still to end.
func (r *run) cancelOrResume(ctx context.Context, j *job) (goesOn bool, err error) {
	var s state
	if _, err := r.call(ctx, http.MethodGet, "/adapters/train/"+j.id, nil, &s); err != nil {
		return false, err
	}
	switch {
	case !s.ended() && len(j.cancels) > 0 && s.Progress.Step >= j.cancels[0]:
		j.cancels = j.cancels[1:]
		status, err := r.call(ctx, http.MethodPost, "/adapters/train/"+j.id+"/cancel", nil, &s)
		if status == http.StatusConflict { // it ended first
			return true, nil
		}
		j.cancelled = err == nil
		return true, err
	case (s.Status == "failed" || s.Status == "cancelled") && j.resumes > 0:
		if r.rng.IntN(4) > 0 {
			return true, nil // later
		}
		if _, err := r.call(ctx, http.MethodPost, "/adapters/train/"+j.id+"/resume", nil, &s); err != nil {
			return false, err
		}
		j.resumes--
		j.cancelled = false
		r.report.Resumed++
		return true, nil
	}
	return !s.ended(), nil
}

// checkJobs compares what the server says of its jobs with what is known of them.
func (r *run) checkJobs(jobs []*job) {
	ctx := context.Background()
	listed, err := r.list(ctx)
	if err != nil {
		r.fault("the list of jobs: %v", err)
	}
	for _, j := range jobs {
		if listed[j.id] != 1 {
			r.fault("the job %s is listed %d times", j.id, listed[j.id])
		}
		var s state
		if _, err := r.call(ctx, http.MethodGet, "/adapters/train/"+j.id, nil, &s); err != nil {
			r.fault("the job %s: %v", j.id, err)
			continue
		}
		r.checkEnd(ctx, j, &s)
	}
	if len(listed) != len(jobs) {
		r.fault("%d jobs are listed, and %d were accepted", len(listed), len(jobs))
	}
}

// checkEnd says whether a job ended as it had to.
func (r *run) checkEnd(ctx context.Context, j *job, s *state) {
	switch s.Status {
	case "succeeded":
		r.report.Succeeded++
		if j.diverges || j.cancelled || s.Result == nil {
			r.fault("the job %s succeeded: %+v", j.id, *j)
			return
		}
		q := Question{Adapter: s.Result.Name + "@" + s.Result.Version, Text: "What is 3 plus 4?"}
		if _, err := r.ask(ctx, q); err != nil {
			r.fault("the adapter of the job %s: %v", j.id, err)
		}
	case "failed":
		r.report.Failed++
		if !j.diverges || s.Error == nil || s.Error.Code != "training_diverged" {
			r.fault("the job %s failed: %+v", j.id, s.Error)
		}
	case "cancelled":
		r.report.Cancelled++
		if !j.cancelled {
			r.fault("the job %s was cancelled without a request", j.id)
		}
	default:
		r.fault("the job %s is %s", j.id, s.Status)
	}
}

// list counts the ids on all pages of the list.
func (r *run) list(ctx context.Context) (map[string]int, error) {
	ids, after := map[string]int{}, ""
	for {
		var page struct {
			Data    []state
			HasMore bool `json:"has_more"`
		}
		if _, err := r.call(ctx, http.MethodGet, "/adapters/train?limit=7&after="+after, nil, &page); err != nil {
			return ids, err
		}
		for _, s := range page.Data {
			ids[s.ID]++
			after = s.ID
		}
		if !page.HasMore || len(page.Data) == 0 {
			return ids, nil
		}
	}
}
