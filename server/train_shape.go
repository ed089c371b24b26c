package server

import (
	"encoding/json"
	"time"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/training"
)

// jobOf puts a job in the API's shape.
func (s *Server) jobOf(j *training.Job) (openapi.TrainingJob, error) {
	config, err := json.Marshal(j.Config)
	if err != nil {
		return openapi.TrainingJob{}, err
	}
	checkpoints, err := s.jobs.Checkpoints(j.ID)
	if err != nil {
		return openapi.TrainingJob{}, err
	}
	out := openapi.TrainingJob{
		Object: "training.job", Id: j.ID, Name: j.Name, Status: string(j.Status),
		CreatedAt: j.Created.Unix(), StartedAt: unix(j.Started), FinishedAt: unix(j.Finished),
		TrainingFile: nullable(j.Training.File), Config: config, Data: dataOfJob(&j.Data), Progress: progressOf(&j.Progress),
		Checkpoints: []openapi.TrainingCheckpoint{}, Error: errorOf(j.Error), Paused: nullable(j.Waits), Metadata: metadataOf(j),
	}
	if j.Start != nil {
		out.From = nullable(j.Start.String())
	}
	if j.Validation != nil {
		out.ValidationFile = nullable(j.Validation.File)
	}
	for _, c := range checkpoints {
		out.Checkpoints = append(out.Checkpoints, openapi.TrainingCheckpoint{
			Id: c.ID, Step: c.Step, Adapter: c.Adapter, Digest: c.Digest, CreatedAt: c.Created.Unix(),
			Loss: c.Loss, Accuracy: c.Accuracy, EvalLoss: c.EvalLoss, EvalAccuracy: c.EvalAccuracy,
		})
	}
	if r := j.Result; r != nil {
		out.Result = &openapi.TrainingResult{Name: r.Name, Version: r.Version, Digest: r.Digest, Metrics: r.Metrics}
	}
	return out, nil
}

// unix is a time in seconds, nil for none.
func unix(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.Unix()
	return &n
}

// nullable is nil for "".
func nullable(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func metadataOf(j *training.Job) map[string]string {
	if j.Metadata == nil {
		return map[string]string{}
	}
	return j.Metadata
}

func dataOfJob(d *training.Data) openapi.TrainingData {
	return openapi.TrainingData{
		Lines: d.Lines, Examples: d.Examples, Validation: d.Validation, Tokens: d.Tokens, Labelled: d.Labelled,
		Longest: d.Longest, Truncated: d.Truncated, Dropped: d.Dropped,
	}
}

func progressOf(p *training.Progress) openapi.TrainingProgress {
	return openapi.TrainingProgress{
		Step: p.Step, Steps: p.Steps, Epoch: p.Epoch, Loss: p.Loss, EvalLoss: p.EvalLoss,
		TrainedTokens: p.Tokens, Seconds: p.Seconds, TokensPerSecond: p.TokensPerSecond, Eta: unix(p.ETA),
	}
}

func errorOf(e *training.JobError) *openapi.TrainingError {
	if e == nil {
		return nil
	}
	out := &openapi.TrainingError{Code: e.Code, Message: e.Message, Param: nullable(e.Param)}
	out.Lines = badLinesOf(e.Lines)
	return out
}

func badLinesOf(list []training.BadLine) []openapi.BadLine {
	out := make([]openapi.BadLine, len(list))
	for i, l := range list {
		out[i] = openapi.BadLine{Line: l.Line, Reason: l.Reason, Count: max(l.Count, 1), Lines: orFirst(l.Lines, l.Line)}
	}
	return out
}

// orFirst is the list, or the first line where there is none: jobs of earlier versions have no list.
func orFirst(list []int, first int) []int {
	if len(list) == 0 {
		return []int{first}
	}
	return list
}

// eventOf puts an event in the API's shape.
func eventOf(e training.Event) any {
	return openapi.TrainingEvent{
		Seq: e.Seq, CreatedAt: e.Created.Unix(), Level: e.Level, Type: e.Kind, Message: e.Message,
		Status: string(e.Status), Data: metricsOf(e.Metrics), Merged: e.Merged,
	}
}

func metricsOf(m *training.Metrics) *openapi.TrainingMetrics {
	if m == nil {
		return nil
	}
	return &openapi.TrainingMetrics{
		Step: m.Step, TotalSteps: m.Steps, Epoch: m.Epoch, TrainLoss: m.Loss, TrainMeanTokenAccuracy: m.Accuracy,
		LearningRate: m.Rate, GradNorm: m.GradNorm, TokensPerSecond: m.TokensPerSecond, EtaSeconds: m.ETA,
		ValidLoss: m.EvalLoss, ValidMeanTokenAccuracy: m.EvalAccuracy, AdditionalProperties: m.Measures,
	}
}
