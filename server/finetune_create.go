package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/training"
)

// maxSuffix bounds the suffix of a job, as OpenAI does.
const maxSuffix = 64

// CreateFineTuningJob makes a job from OpenAI's request.
func (s *Server) CreateFineTuningJob(c *fiber.Ctx) error {
	if _, err := s.queue(); err != nil {
		return err
	}
	var req openapi.FineTuningRequest
	if err := s.decodeKnown(c, &req); err != nil {
		return err
	}
	if err := s.checkFineTuning(&req); err != nil {
		return err
	}
	from, err := s.resolve(callerOf(c), req.Model)
	if err != nil {
		return err
	}
	config, err := s.fineTuningConfig(callerOf(c), &req)
	if err != nil {
		return err
	}
	name := text(req.Suffix)
	if name == "" {
		name = newID("ft-")
	}
	name = s.owned(callerOf(c), name)
	if err := errors.Join(s.checkName(name, "suffix"), s.checkMadeByJobs(name), s.checkJobs(callerOf(c)), s.checkStored(callerOf(c), 0)); err != nil {
		return err
	}
	train, err := s.dataset(callerOf(c), nil, "", req.TrainingFile, "training_file", nil)
	if err != nil {
		return err
	}
	defer train.close()
	r := training.CreateRequest{Name: name, Config: config, From: from, Training: train.Input, ValidateLater: true, Lasting: true}
	if err := keepRequest(&r, &req); err != nil {
		return err
	}
	valid, err := s.dataset(callerOf(c), nil, "", text(req.ValidationFile), "validation_file", nil)
	if err != nil {
		return err
	}
	if valid != nil {
		defer valid.close()
		r.Validation = &valid.Input
	} else if config.EvalStrategy == training.EverySteps {
		r.Notices = append(r.Notices, intervalNotice)
	}
	job, err := s.createJob(c, &trainingRequest{CreateRequest: r, trainingParam: "training_file", validationParam: "validation_file"})
	if err != nil {
		return inOpenAIsPlace(err)
	}
	return sendJSON(c, http.StatusOK, s.fineTuningJob(&job))
}

// openAIPlaces are the fields of OpenAI's request that fields of a training.CreateRequest come from and have another name.
var openAIPlaces = map[string]string{"from": "model", "reasoning_effort": reinforcementField + ".hyperparameters.reasoning_effort"}

// inOpenAIsPlace names the field of OpenAI's request in an error about a training.CreateRequest.
func inOpenAIsPlace(err error) error {
	if field := new(training.FieldError); errors.As(err, &field) && openAIPlaces[field.Field] != "" {
		return withParam(openAIPlaces[field.Field], err)
	}
	return err
}

// checkMadeByJobs refuses the name of an adapter that no job has made: a job's model would take its place.
func (s *Server) checkMadeByJobs(name string) error {
	info, err := s.store.Get(adapters.Ref{Name: name})
	if err != nil || info.Origin.Kind == adapters.FromJob { // it is new, or damaged and will be replaced
		return nil
	}
	return &refusal{status: http.StatusConflict, param: "suffix", code: "name_taken", message: fmt.Sprintf(
		"suffix names the adapter %q, which no job has made (%s): choose another suffix, or delete the adapter", name, info.Origin.Kind)}
}

// keptRequest is what of the request a job keeps, to be shown again.
type keptRequest struct {
	Model        string                          `json:"model,omitempty"` // where it is an adapter
	Suffix       string                          `json:"suffix,omitempty"`
	Integrations []openapi.FineTuningIntegration `json:"integrations,omitempty"`
}

// keepRequest puts into a job's request what is to be shown again, and what its events say of it.
func keepRequest(r *training.CreateRequest, req *openapi.FineTuningRequest) (err error) {
	kept := keptRequest{Suffix: text(req.Suffix)}
	if r.From != nil {
		kept.Model = req.Model
	}
	if kept.Integrations, err = readIntegrations(req.Integrations); err != nil {
		return err
	}
	if len(kept.Integrations) > 0 {
		r.Notices = append(r.Notices, integrationNotice)
	}
	if req.Metadata != nil {
		r.Metadata = *req.Metadata
	}
	r.Request, err = json.Marshal(kept)
	return err
}

// readKept reads what was kept of the request of a job, nothing for one that OpenAI's request did not make.
func readKept(raw json.RawMessage) (a keptRequest) {
	if len(raw) > 0 && json.Unmarshal(raw, &a) != nil {
		return keptRequest{}
	}
	return a
}

// suffixOf reads the suffix of a job that OpenAI's request made.
func suffixOf(raw json.RawMessage) *string { return nullable(readKept(raw).Suffix) }

// integrationsOf reads the integrations of a job.
func integrationsOf(raw json.RawMessage) []openapi.FineTuningIntegration {
	return append([]openapi.FineTuningIntegration{}, readKept(raw).Integrations...)
}

// The bounds of integrations.
const (
	maxIntegrations = 5
	maxTags         = 50
	maxTag          = 512
)

// integrationNotice is what the events of a job say that asked for Weights & Biases.
const integrationNotice = "The integration wandb is not acted on: this server tells no other server of its jobs. " +
	"The events of the job have the same numbers, and so has its report."

// intervalNotice is what the events of a job say that asked for evaluations of nothing.
const intervalNotice = "The hyperparameter eval_interval is not acted on: the job has no validation_file."

// readIntegrations reads the integrations of a request.
func readIntegrations(raw json.RawMessage) ([]openapi.FineTuningIntegration, error) {
	var list []openapi.FineTuningIntegration
	if jsonvalue.Kind(raw) == "null" {
		return nil, nil
	}
	if err := decodeField(raw, "integrations", &list); err != nil {
		return nil, err
	}
	if len(list) > maxIntegrations {
		return nil, refuse(codeValue, "integrations", "has %d entries, at most %d are read", len(list), maxIntegrations)
	}
	for i, in := range list {
		param := fmt.Sprintf("integrations[%d]", i)
		switch w := in.Wandb; {
		case in.Type != "wandb":
			return nil, refuse(codeUnsupported, param+".type", "is %q: wandb is the one there is", clipName(in.Type))
		case w == nil || w.Project == "":
			return nil, refuse(codeMissing, param+".wandb.project", "is missing")
		case len(w.Project) > maxTag, len(text(w.Name)) > maxTag, len(text(w.Entity)) > maxTag, len(w.Tags) > maxTags,
			slices.ContainsFunc(w.Tags, func(s string) bool { return len(s) > maxTag }):
			return nil, refuse(codeValue, param+".wandb", "has more than %d tags, or a text of more than %d bytes", maxTags, maxTag)
		}
	}
	return list, nil
}

// checkFineTuning checks the fields that are not hyperparameters.
func (s *Server) checkFineTuning(req *openapi.FineTuningRequest) error {
	switch {
	case req.Model == "":
		return refuse(codeMissing, "model", "is missing: %q is the base model", s.name)
	case req.TrainingFile == "":
		return refuse(codeMissing, "training_file", "is missing: the id of an uploaded file")
	case len(text(req.Suffix)) > maxSuffix:
		return refuse(codeValue, "suffix", "has %d bytes, at most %d are read", len(*req.Suffix), maxSuffix)
	}
	if req.Metadata != nil {
		return checkMetadata(*req.Metadata)
	}
	return nil
}
