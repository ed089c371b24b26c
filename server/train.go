package server

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/training"
)

// This file is training in the server's own words: train_create.go reads what is asked for, train_shape.go
// writes jobs, train_events.go streams what happens to them. finetune.go has the same jobs in OpenAI's words.

// ReservedName is the adapter name that the URLs of training jobs take.
const ReservedName = "train"

// cancelTime is how long the answer to a cancellation or a pause waits for the job to stop: a slice is some milliseconds, but
// opening the files of a large job takes longer. After it the job is answered as it is, and stops when it can.
const cancelTime = 30 * time.Second

// checkName returns why an adapter cannot be registered by a name.
func (s *Server) checkName(name, param string) error {
	switch {
	case name == ReservedName:
		return refuse(codeValue, param, "%q is reserved: /adapters/train has the training jobs", name)
	case slices.Contains(s.ids, name):
		return refuse(codeValue, param, "%q is a name of the base model", name)
	}
	return withParam(param, adapters.CheckName(name))
}

// queue returns the training queue, or why there is none.
func (s *Server) queue() (*training.Queue, error) {
	if s.jobs == nil || s.files == nil {
		return nil, &refusal{status: http.StatusServiceUnavailable, code: "training_off", message: "this server does not train"}
	}
	return s.jobs, nil
}

// ListTraining lists the jobs.
func (s *Server) ListTraining(c *fiber.Ctx, params openapi.ListTrainingParams) error {
	list, more, err := s.listJobs(c, params.After, params.Limit)
	if err != nil {
		return err
	}
	out := openapi.TrainingJobList{Object: "list", Data: make([]openapi.TrainingJob, len(list)), HasMore: more}
	for i := range list {
		if out.Data[i], err = s.jobOf(&list[i]); err != nil {
			return err
		}
	}
	return sendJSON(c, http.StatusOK, out)
}

// listJobs returns a page of the jobs.
func (s *Server) listJobs(c *fiber.Ctx, after *string, limit *int) ([]training.Job, bool, error) {
	q, err := s.queue()
	if err != nil {
		return nil, false, err
	}
	var check checker
	n := check.integer("limit", limit, 20, 1, 100)
	if check.err != nil {
		return nil, false, check.err
	}
	filter, err := readJobFilter(c)
	if err != nil {
		return nil, false, err
	}
	who := callerOf(c)
	list, more, err := q.ListWhere(func(j *training.Job) bool {
		return who.tenant.OwnsAdapter(j.Name) && filter.matches(j)
	}, text(after), n)
	return list, more, withParam("after", err)
}

// text is a string, "" for none.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// GetTraining gives one job.
func (s *Server) GetTraining(c *fiber.Ctx, id string) error {
	job, err := s.getJob(callerOf(c), id)
	if err != nil {
		return err
	}
	return s.sendJob(c, http.StatusOK, job)
}

func (s *Server) getJob(who caller, id string) (training.Job, error) {
	q, err := s.queue()
	if err != nil {
		return training.Job{}, err
	}
	job, err := q.Get(id)
	return job, ownJob(who, &job, err)
}

// CancelTraining ends a job.
func (s *Server) CancelTraining(c *fiber.Ctx, id string) error {
	job, err := s.stopJob(c, id, (*training.Queue).Cancel)
	if err != nil {
		return err
	}
	return s.sendJob(c, http.StatusOK, job)
}

// PauseTraining has a job wait.
func (s *Server) PauseTraining(c *fiber.Ctx, id string) error {
	job, err := s.stopJob(c, id, (*training.Queue).Pause)
	if err != nil {
		return err
	}
	return s.sendJob(c, http.StatusOK, job)
}

// stopJob cancels or pauses a job.
func (s *Server) stopJob(c *fiber.Ctx, id string, stop func(*training.Queue, context.Context, string) (training.Job, error)) (training.Job, error) {
	q, err := s.queue()
	if err != nil {
		return training.Job{}, err
	}
	_, done, err := s.readBody(c, smallBody)
	if done(); err != nil { // the connection is watched from here on
		return training.Job{}, err
	}
	if job, err := s.getJob(callerOf(c), id); err != nil {
		return job, err
	}
	work, end := s.work(c)
	defer end()
	ctx, cancel := context.WithTimeout(work, cancelTime)
	defer cancel()
	job, err := stop(q, ctx, id)
	switch {
	case err != nil && work.Err() != nil:
		return training.Job{}, context.Cause(work)
	case errors.Is(err, context.DeadlineExceeded):
		return q.Get(id)
	}
	if err == nil {
		s.log.Info().Str("job", job.ID).Str("adapter", job.Name).Str("status", string(job.Status)).Msg("training stopped")
	}
	return job, err
}

// ResumeTraining queues a job again.
func (s *Server) ResumeTraining(c *fiber.Ctx, id string) error {
	job, err := s.resumeJob(c, id)
	if err != nil {
		return err
	}
	return s.sendJob(c, http.StatusOK, job)
}

func (s *Server) resumeJob(c *fiber.Ctx, id string) (training.Job, error) {
	q, err := s.queue()
	if err != nil {
		return training.Job{}, err
	}
	if s.draining.Load() {
		return training.Job{}, errDraining()
	}
	if job, err := s.getJob(callerOf(c), id); err != nil {
		return job, err
	}
	job, err := q.Resume(id)
	if err == nil {
		s.log.Info().Str("job", job.ID).Str("adapter", job.Name).Msg("training resumed")
	}
	return job, err
}

// DeleteTraining removes a job that has ended.
func (s *Server) DeleteTraining(c *fiber.Ctx, id string) error {
	q, err := s.queue()
	if err != nil {
		return err
	}
	if _, err := s.getJob(callerOf(c), id); err != nil {
		return err
	}
	if err := q.Delete(id); err != nil {
		return err
	}
	s.log.Info().Str("job", id).Msg("training job deleted")
	return sendJSON(c, http.StatusOK, openapi.TrainingJobDeleted{Id: id, Object: "training.job", Deleted: true})
}

func (s *Server) sendJob(c *fiber.Ctx, status int, job training.Job) error {
	out, err := s.jobOf(&job)
	if err != nil {
		return err
	}
	return sendJSON(c, status, out)
}

// createJob makes a job, for a request whose body has been read. The error names the field at fault by what the request
// calls its datasets.
func (s *Server) createJob(c *fiber.Ctx, r *trainingRequest) (training.Job, error) {
	q, err := s.queue()
	if err != nil {
		return training.Job{}, err
	}
	if s.draining.Load() {
		return training.Job{}, errDraining()
	}
	if s.trainable != nil {
		if err := s.trainable(); err != nil {
			return training.Job{}, err
		}
	}
	r.Owner = callerOf(c).tenant.Owner()
	ctx, stop := s.work(c)
	defer stop()
	job, err := q.Create(ctx, r.CreateRequest)
	if err != nil && ctx.Err() != nil {
		return training.Job{}, context.Cause(ctx)
	}
	if err == nil {
		s.log.Info().Str("job", job.ID).Str("adapter", job.Name).Msg("training job created")
	}
	return job, r.locate(err)
}

// locate says which field caused an error of the training.
func (r *trainingRequest) locate(err error) error {
	var field *training.FieldError
	var data *training.DatasetError
	switch {
	case errors.As(err, &field):
		return withParam(field.Field, err)
	case errors.As(err, &data) && data.Dataset == "validation":
		return withParam(r.validationParam, err)
	case errors.As(err, &data), errors.Is(err, training.ErrTooLarge):
		return withParam(r.trainingParam, err)
	}
	return err
}
