package server

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/training"
)

// GetReport gives what the job that made an adapter has come to.
func (s *Server) GetReport(c *fiber.Ctx, name string, params openapi.GetReportParams) error {
	format := "json"
	if params.Format != nil {
		format = *params.Format
	}
	if format != "json" && format != "svg" {
		return refuse(codeValue, "format", "is %q, it must be json or svg", format)
	}
	q, err := s.queue()
	if err != nil {
		return err
	}
	id, err := s.jobThatMade(q, s.qualifiedRef(callerOf(c), name))
	if err != nil {
		return err
	}
	r, err := q.Report(id)
	if errors.Is(err, training.ErrUnknown) {
		return noReport("the job that made %s is gone, and its report with it", name)
	}
	if err != nil {
		return err
	}
	if format == "svg" {
		c.Set(fiber.HeaderContentType, "image/svg+xml; charset=utf-8")
		return c.SendString(r.SVG())
	}
	return sendJSON(c, http.StatusOK, reportOf(r))
}

// jobThatMade finds the job that made the version a name means, or that is to make the first one.
func (s *Server) jobThatMade(q *training.Queue, name string) (string, error) {
	ref, err := adapters.ParseRef(name)
	if err != nil {
		return "", withParam("name", err)
	}
	info, err := s.store.Get(ref)
	switch {
	case err == nil && info.Origin.Kind == adapters.FromJob:
		return info.Origin.Detail, nil
	case err == nil:
		return "", noReport("%s was not trained here: it has no report", name)
	case !errors.Is(err, adapters.ErrUnknown) || ref.Version != "":
		return "", withParam("name", err)
	}
	list, _, unlisted := q.List("", 0)
	if unlisted != nil {
		return "", unlisted
	}
	for _, j := range list { // newest first
		if j.Name == ref.Name {
			return j.ID, nil
		}
	}
	return "", withParam("name", err)
}

func noReport(format, name string) error {
	return &refusal{status: http.StatusNotFound, param: "name", code: "report_not_found", message: fmt.Sprintf(format, name)}
}

func reportOf(r *training.Report) openapi.TrainingReport {
	out := openapi.TrainingReport{
		Object: "training.report", Job: r.Job, Status: string(r.Status), Adapter: r.Adapter, Version: nullable(r.Version),
		MeasuredOn: r.On, Base: qualityOf(r.Base), Trained: qualityOf(r.Trained),
		Curve: pointsOf(r.Curve), EvalCurve: pointsOf(r.Eval), Samples: make([]openapi.TrainingSample, len(r.Samples)),
	}
	for i, s := range r.Samples {
		sample := openapi.TrainingSample{Reference: s.Reference, Base: s.Base, Adapter: s.Adapter, Messages: []openapi.SampleMessage{}}
		for _, m := range s.Messages {
			sample.Messages = append(sample.Messages, openapi.SampleMessage{Role: m.Role, Content: m.Content})
		}
		out.Samples[i] = sample
	}
	return out
}

func qualityOf(q *training.Quality) *openapi.TrainingQuality {
	if q == nil {
		return nil
	}
	return &openapi.TrainingQuality{Loss: q.Loss, Perplexity: q.Perplexity, Accuracy: q.Accuracy, Tokens: q.Tokens, Measures: q.Measures}
}

func pointsOf(list []training.Point) []openapi.TrainingPoint {
	out := make([]openapi.TrainingPoint, len(list))
	for i, p := range list {
		out[i] = openapi.TrainingPoint{Step: p.Step, Loss: p.Loss}
	}
	return out
}
