package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/graders"
	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

// This file runs graders alone, as people do before they train with one.

// graderTime bounds one run of a grader.
const graderTime = time.Minute

// graderTools returns what the graders of a caller may use.
func (s *Server) graderTools(who caller) graders.Tools {
	if s.graders == nil {
		return graders.Tools{}
	}
	return s.graders(who.tenant.Owner())
}

// CheckGraderModel returns an error, which continues "model", where a grader of an owner cannot ask a model of this server.
func (s *Server) CheckGraderModel(owner, model string) error {
	who, known := s.ownerOf(owner)
	if !known {
		return fmt.Errorf("is of an owner that has no API key any longer")
	}
	if _, err := s.resolve(who, model); err != nil {
		return fmt.Errorf("is not one that can be asked here: %w", err)
	}
	return nil
}

// parseGrader reads the grader of a request.
func (s *Server) parseGrader(who caller, raw json.RawMessage, param string) (*graders.Grader, error) {
	if jsonvalue.Kind(raw) == "null" {
		return nil, refuse(codeMissing, param, "is missing")
	}
	g, err := graders.Parse(raw, param, s.graderTools(who))
	return g, graderRefusal(err)
}

// graderRefusal turns an error about a grader's definition into a 400 that names the field.
func graderRefusal(err error) error {
	var f *graders.FieldError
	if !errors.As(err, &f) {
		return err
	}
	code := codeValue
	if f.Unsupported {
		code = codeUnsupported
	}
	return refuse(code, f.Field, "%s", f.Reason)
}

// ValidateGrader checks a grader.
func (s *Server) ValidateGrader(c *fiber.Ctx) error {
	var req openapi.GraderValidation
	if err := s.decodeKnown(c, &req); err != nil {
		return err
	}
	g, err := s.parseGrader(callerOf(c), req.Grader, "grader")
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, openapi.GraderValidated{Grader: g.Definition()})
}

// RunGrader grades one answer.
func (s *Server) RunGrader(c *fiber.Ctx) error {
	var req openapi.GraderRunRequest
	if err := s.decodeKnown(c, &req); err != nil {
		return err
	}
	if req.ModelSample == nil {
		return refuse(codeMissing, "model_sample", "is missing: the answer to grade")
	}
	sample := graders.Sample{Text: *req.ModelSample, Item: map[string]any{}}
	if jsonvalue.Kind(req.Item) != "null" {
		item, err := graders.ReadItem(req.Item)
		if err != nil {
			return refuse(codeType, "item", "must be an object, not %s", jsonvalue.Article(jsonvalue.Kind(req.Item)))
		}
		sample.Item = item
	}
	g, err := s.parseGrader(callerOf(c), req.Grader, "grader")
	if err != nil {
		return err
	}
	work, stop := s.work(c)
	defer stop()
	ctx, cancel := context.WithTimeout(work, graderTime)
	defer cancel()
	result, took, err := g.Timed(ctx, &sample)
	if work.Err() != nil {
		return context.Cause(work)
	}
	out, err := graderAnswer(g, result, took, err)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, out)
}

// graderAnswer puts what a grader gave in OpenAI's shape. A grader that could not grade gives no reward, and says why.
func graderAnswer(g *graders.Grader, r graders.Result, took time.Duration, err error) (*openapi.GraderRun, error) {
	out := &openapi.GraderRun{
		Reward: r.Reward, SubRewards: map[string]float64{}, ModelGraderTokenUsagePerModel: map[string]int{},
		Metadata: openapi.GraderMetadata{Name: g.Name(), Type: g.Type(), ExecutionTime: took.Seconds(), Scores: map[string]float64{}},
	}
	for name, x := range r.Parts {
		out.SubRewards[name], out.Metadata.Scores[name] = x, x
	}
	if r.Parts == nil && err == nil {
		out.Metadata.Scores[g.Name()] = r.Reward
	}
	tokens := 0
	for model, n := range r.Tokens {
		out.ModelGraderTokenUsagePerModel[model] = n
		tokens += n
	}
	if r.Tokens != nil {
		out.Metadata.TokenUsage = &tokens
	}
	out.Metadata.SampledModelName = nullable(r.Model)
	var f *graders.Failure
	if err != nil && !errors.As(err, &f) {
		return nil, err
	}
	if f != nil {
		reportFailure(&out.Metadata.Errors, f)
	}
	return out, nil
}

// reportFailure sets the flag of what went wrong, and the details where OpenAI has a field for them.
func reportFailure(e *openapi.GraderErrors, f *graders.Failure) {
	reason := f.Error()
	switch f.Fault {
	case graders.FormulaFault:
		e.FormulaParseError = true
	case graders.VariableFault:
		e.InvalidVariableError = true
	case graders.SampleFault:
		e.SampleParseError = true
	case graders.TruncatedFault:
		e.TruncatedObservationError = true
	case graders.TimeFault:
		e.UnresponsiveRewardError = true
	case graders.ModelFault:
		e.ModelGraderServerError, e.ModelGraderServerErrorDetails = true, &reason
	case graders.RefusalFault:
		e.ModelGraderRefusalError = true
	case graders.ModelParseFault:
		e.ModelGraderParseError = true
	case graders.PythonFault:
		kind := "sandbox"
		e.PythonGraderServerError, e.PythonGraderServerErrorType = true, &kind
	case graders.PythonRuntimeFault:
		e.PythonGraderRuntimeError, e.PythonGraderRuntimeErrorDetails = true, &reason
	default:
		e.OtherError = true
	}
	e.Details = &reason
}
