package server

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/training"
)

// This file has the training jobs in the shapes that OpenAI's clients know.

// ListFineTuningJobs lists the jobs.
func (s *Server) ListFineTuningJobs(c *fiber.Ctx, params openapi.ListFineTuningJobsParams) error {
	list, more, err := s.listJobs(c, params.After, params.Limit)
	if err != nil {
		return err
	}
	out := openapi.FineTuningJobList{Object: "list", Data: make([]openapi.FineTuningJob, len(list)), HasMore: more}
	for i := range list {
		out.Data[i] = s.fineTuningJob(&list[i])
	}
	return sendJSON(c, http.StatusOK, out)
}

// GetFineTuningJob gives one job.
func (s *Server) GetFineTuningJob(c *fiber.Ctx, id string) error {
	job, err := s.getJob(callerOf(c), id)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, s.fineTuningJob(&job))
}

// CancelFineTuningJob ends a job.
func (s *Server) CancelFineTuningJob(c *fiber.Ctx, id string) error {
	return s.sendFineTuningJob(c)(s.stopJob(c, id, (*training.Queue).Cancel))
}

// PauseFineTuningJob has a job wait.
func (s *Server) PauseFineTuningJob(c *fiber.Ctx, id string) error {
	return s.sendFineTuningJob(c)(s.stopJob(c, id, (*training.Queue).Pause))
}

// ResumeFineTuningJob queues a job again.
func (s *Server) ResumeFineTuningJob(c *fiber.Ctx, id string) error {
	return s.sendFineTuningJob(c)(s.resumeJob(c, id))
}

// sendFineTuningJob returns what answers with a job.
func (s *Server) sendFineTuningJob(c *fiber.Ctx) func(training.Job, error) error {
	return func(job training.Job, err error) error {
		if err != nil {
			return err
		}
		return sendJSON(c, http.StatusOK, s.fineTuningJob(&job))
	}
}

// fineTuningJob puts a job in OpenAI's shape.
func (s *Server) fineTuningJob(j *training.Job) openapi.FineTuningJob {
	with := openapi.FineTunedWith{
		NEpochs: j.Config.Epochs, BatchSize: j.Config.Batch * j.Config.Accumulation,
		LearningRateMultiplier: j.Config.LearningRate / j.Config.UsualRate(s.model.Facts()),
	}
	method := openapi.FineTuningMethod{Type: j.Config.Method}
	switch j.Config.Method {
	case training.DPO:
		with.Beta = j.Config.Beta
		method.Dpo = &openapi.FineTuningSupervised{Hyperparameters: with}
	case training.Reinforcement:
		method.Reinforcement = s.reinforcementOf(&j.Config)
	default:
		method.Supervised = &openapi.FineTuningSupervised{Hyperparameters: with}
	}
	out := openapi.FineTuningJob{
		Id: j.ID, Object: "fine_tuning.job", CreatedAt: j.Created.Unix(), FinishedAt: unix(j.Finished), Model: cmp.Or(readKept(j.Request).Model, s.name),
		OrganizationId: "lorikeet", Status: string(j.Status), Hyperparameters: with,
		Method:       method,
		TrainingFile: "inline", ResultFiles: []string{}, Seed: j.Config.Seed, Integrations: integrationsOf(j.Request), Metadata: metadataOf(j),
		EstimatedFinish: unix(j.Progress.ETA), UserProvidedSuffix: suffixOf(j.Request),
	}
	if j.Training.File != "" {
		out.TrainingFile = j.Training.File
	}
	if j.Validation != nil {
		out.ValidationFile = nullable(j.Validation.File)
	}
	if j.Result != nil {
		// With its version: another job of the same suffix moves the name, and this job's model must stay this job's.
		model := adapters.Ref{Name: j.Result.Name, Version: j.Result.Version}.String()
		out.FineTunedModel = &model
	}
	if f, err := s.files.Get(j.ResultFile()); err == nil {
		out.ResultFiles = []string{f.ID}
	}
	if j.Status.Ended() {
		out.TrainedTokens = &j.Progress.Tokens
	}
	if e := j.Error; e != nil {
		out.Error = &openapi.FineTuningError{Code: e.Code, Message: e.Message, Param: nullable(e.Param)}
	}
	return out
}

// ListFineTuningEvents lists a job's events, or follows them.
func (s *Server) ListFineTuningEvents(c *fiber.Ctx, id string, params openapi.ListFineTuningEventsParams) error {
	q, err := s.queue()
	if err != nil {
		return err
	}
	prefix := "ftevent-" + strings.TrimPrefix(strings.Clone(id), "ftjob-") + "-"
	shape := func(e training.Event) any { return fineTuningEvent(prefix, e) }
	if flag(params.Stream, false) {
		return s.follow(c, id, params.LastEventID, shape)
	}
	var check checker
	n := check.integer("limit", params.Limit, 20, 1, 100)
	before := 0
	if after := text(params.After); after != "" {
		number, ours := strings.CutPrefix(after, prefix)
		if before, err = strconv.Atoi(number); !ours || err != nil || before < 1 {
			check.refuse(codeValue, "after", "is %q, which is no event of this job", after)
		}
	}
	if check.err != nil {
		return check.err
	}
	if _, err := s.getJob(callerOf(c), id); err != nil {
		return err
	}
	list, more, err := q.EventPage(id, before, n)
	if err != nil {
		return err
	}
	out := openapi.FineTuningEventList{Object: "list", Data: make([]openapi.FineTuningEvent, len(list)), HasMore: more}
	for i, e := range list {
		out.Data[i] = fineTuningEvent(prefix, e)
	}
	return sendJSON(c, http.StatusOK, out)
}

func fineTuningEvent(prefix string, e training.Event) openapi.FineTuningEvent {
	return openapi.FineTuningEvent{
		Id: fmt.Sprint(prefix, e.Seq), Object: "fine_tuning.job.event", CreatedAt: e.Created.Unix(), Level: e.Level,
		Message: e.Message, Type: e.Kind, Data: metricsOf(e.Metrics),
	}
}

// ListFineTuningCheckpoints lists the checkpoints of a job.
func (s *Server) ListFineTuningCheckpoints(c *fiber.Ctx, id string, params openapi.ListFineTuningCheckpointsParams) error {
	q, err := s.queue()
	if err != nil {
		return err
	}
	var check checker
	n := check.integer("limit", params.Limit, 20, 1, 100)
	job, err := s.getJob(callerOf(c), id)
	if err != nil {
		return err
	}
	list, err := q.Checkpoints(id)
	if err != nil {
		return err
	}
	if after := text(params.After); after != "" {
		at := 0
		for at < len(list) && list[at].ID != after {
			at++
		}
		if at == len(list) {
			check.refuse(codeValue, "after", "is %q, which is no checkpoint of this job", after)
		}
		list = list[min(at+1, len(list)):]
	}
	if check.err != nil {
		return check.err
	}
	out := openapi.FineTuningCheckpointList{Object: "list", Data: []openapi.FineTuningCheckpoint{}, HasMore: len(list) > n}
	for _, k := range list[:min(n, len(list))] {
		out.Data = append(out.Data, fineTuningCheckpoint(&job, &k))
	}
	if n := len(out.Data); n > 0 {
		out.FirstId, out.LastId = &out.Data[0].Id, &out.Data[n-1].Id
	}
	return sendJSON(c, http.StatusOK, out)
}

// shortVersion is how many digits of a digest are shown.
const shortVersion = 12

func fineTuningCheckpoint(job *training.Job, k *training.Checkpoint) openapi.FineTuningCheckpoint {
	name := k.Adapter
	if job.Lasting { // another job of this name may have a checkpoint of the same step
		name = adapters.Ref{Name: job.Name, Version: k.Digest[:shortVersion]}.String()
	}
	return openapi.FineTuningCheckpoint{
		Id: k.ID, Object: "fine_tuning.job.checkpoint", CreatedAt: k.Created.Unix(), FineTunedModelCheckpoint: name,
		FineTuningJobId: job.ID, StepNumber: k.Step, Metrics: openapi.FineTuningMetrics{
			Step: float64(k.Step), TrainLoss: k.Loss, TrainMeanTokenAccuracy: k.Accuracy, ValidLoss: k.EvalLoss,
			ValidMeanTokenAccuracy: k.EvalAccuracy, FullValidLoss: k.EvalLoss, FullValidMeanTokenAccuracy: k.EvalAccuracy,
		},
	}
}
