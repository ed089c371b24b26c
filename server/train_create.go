package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/training"
)

// Bounds of a job's metadata, as OpenAI has them.
const (
	maxMetadata      = 16
	maxMetadataKey   = 64
	maxMetadataValue = 512
	// maxTrainField bounds a form field of a training job.
	maxTrainField = 64 << 10
)

// trainFields are a job's fields besides its hyperparameters.
type trainFields struct {
	Name               string            `json:"name"`
	From               string            `json:"from"`
	Examples           json.RawMessage   `json:"examples"`
	TrainingFile       string            `json:"training_file"`
	ValidationExamples json.RawMessage   `json:"validation_examples"`
	ValidationFile     string            `json:"validation_file"`
	Metadata           map[string]string `json:"metadata"`
}

// trainNames are the names of these fields.
var trainNames = []string{"name", "from", "examples", "training_file", "validation_examples", "validation_file", "metadata"}

// TrainAdapter makes a job from JSON or a form.
func (s *Server) TrainAdapter(c *fiber.Ctx) error {
	if _, err := s.queue(); err != nil {
		return err
	}
	return s.readTraining(c, s.train)
}

// readTraining receives a request for training, JSON or a form, and hands it to do: a JSON object, and the files of the form.
func (s *Server) readTraining(c *fiber.Ctx, do func(*fiber.Ctx, []byte, *trainForm) error) error {
	kind, params, err := mime.ParseMediaType(c.Get(fiber.HeaderContentType))
	if err == nil && kind == fiber.MIMEMultipartForm {
		return s.readTrainForm(c, params["boundary"], do)
	}
	body, done, err := s.readBody(c, s.maxBody)
	defer done()
	if err != nil {
		return err
	}
	return do(c, body, &trainForm{})
}

// train makes the job that body, a JSON object, and the files of a form ask for.
func (s *Server) train(c *fiber.Ctx, body []byte, form *trainForm) error {
	var f trainFields
	if err := decodeJSON(body, &f); err != nil {
		return err
	}
	if f.Name == "" {
		return refuse(codeMissing, "name", "is missing: the adapter to make")
	}
	f.Name = s.owned(callerOf(c), f.Name)
	if err := errors.Join(s.checkName(f.Name, "name"), checkMetadata(f.Metadata), s.checkJobs(callerOf(c)), s.checkStored(callerOf(c), 0)); err != nil {
		return err
	}
	r, err := s.trainingRequest(callerOf(c), body, &f, form)
	defer r.close()
	if err != nil {
		return err
	}
	job, err := s.createJob(c, r)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderLocation, "/adapters/train/"+job.ID)
	return s.sendJob(c, http.StatusAccepted, job)
}

// trainingRequest is what a job is made of, with the names that the request has for its datasets.
type trainingRequest struct {
	training.CreateRequest
	trainingParam, validationParam string
	opened                         []*dataset
}

// close closes the datasets. It may be called on nil.
func (r *trainingRequest) close() {
	if r == nil {
		return
	}
	for _, d := range r.opened {
		d.close()
	}
}

// trainingRequest reads the hyperparameters and opens the datasets. What it returns is closed by the caller, also beside an error.
func (s *Server) trainingRequest(who caller, body []byte, f *trainFields, form *trainForm) (*trainingRequest, error) {
	r := &trainingRequest{CreateRequest: training.CreateRequest{Name: f.Name, Metadata: f.Metadata, Owner: who.tenant.Owner()}}
	var err error
	if r.Config, err = trainConfig(body); err != nil {
		return r, err
	}
	if r.From, err = s.startOf(who, f.From, body); err != nil {
		return r, err
	}
	train, err := s.dataset(who, f.Examples, "examples", f.TrainingFile, "training_file", form.training)
	if err != nil {
		return r, err
	}
	if train == nil {
		return r, refuse(codeMissing, "examples", "is missing: give examples, training_file, or a form with a file")
	}
	r.Training, r.trainingParam, r.opened = train.Input, train.param, append(r.opened, train)
	valid, err := s.dataset(who, f.ValidationExamples, "validation_examples", f.ValidationFile, "validation_file", form.validation)
	if valid != nil {
		r.Validation, r.validationParam, r.opened = &valid.Input, valid.param, append(r.opened, valid)
	}
	return r, err
}

// startFields are the hyperparameters that an adapter has itself.
var startFields = []string{"r", "lora_alpha", "use_rslora", "use_dora", "target_modules", "exclude_modules", "layers_to_transform", "rank_pattern", "alpha_pattern",
	"modules_to_save", "alora_invocation_tokens", "invocation_string"}

// startOf returns the adapter that a job is to train on from, nil for none. body is the request, whose fields must not say
// what the adapter says.
func (s *Server) startOf(who caller, name string, body []byte) (*adapters.Ref, error) {
	if name == "" {
		return nil, nil
	}
	ref, err := s.resolve(who, name)
	if err != nil {
		return nil, renameParam(err, func(string) string { return "from" })
	}
	if ref == nil { // the base
		return nil, nil
	}
	var fields map[string]json.RawMessage
	if err := decodeJSON(body, &fields); err != nil {
		return nil, err
	}
	for _, field := range startFields {
		if jsonvalue.Kind(fields[field]) != "null" {
			return nil, refuse(codeValue, field, "is given together with from: it is the adapter's own")
		}
	}
	return ref, nil
}

// trainConfig reads the hyperparameters: all fields that are no others'.
func trainConfig(body []byte) (training.Config, error) {
	var fields map[string]json.RawMessage
	if err := decodeJSON(body, &fields); err != nil {
		return training.Config{}, err
	}
	for _, name := range trainNames {
		delete(fields, name)
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		return training.Config{}, err
	}
	config, err := training.ParseConfig(raw)
	var field *training.FieldError
	if errors.As(err, &field) {
		err = withParam(field.Field, err)
	}
	return config, err
}

// checkMetadata holds metadata to its bounds.
func checkMetadata(m map[string]string) error {
	if len(m) > maxMetadata {
		return refuse(codeValue, "metadata", "has %d entries, at most %d are kept", len(m), maxMetadata)
	}
	for k, v := range m {
		if len(k) > maxMetadataKey || len(v) > maxMetadataValue {
			return refuse(codeValue, "metadata", "has an entry of %d and %d bytes, at most %d and %d are kept",
				len(k), len(v), maxMetadataKey, maxMetadataValue)
		}
	}
	return nil
}

// dataset is where a job's examples come from. It is closed when the job has copied them.
type dataset struct {
	training.Input
	param string // what the request calls it
	close func()
}

// dataset opens the one of three sources that is given: inline examples, the id of an uploaded file, or a file
// of the form. It returns nil where none is.
func (s *Server) dataset(who caller, inline json.RawMessage, inlineParam, id, idParam string, sent *adapters.Part) (*dataset, error) {
	given := jsonvalue.Kind(inline)
	switch {
	case given != "null" && (id != "" || sent != nil), id != "" && sent != nil:
		return nil, refuse(codeValue, idParam, "is given more than once: give inline examples, an id, or a file")
	case given == "array":
		return &dataset{training.Input{Body: bytes.NewReader(inline)}, inlineParam, func() {}}, nil
	case given != "null":
		return nil, refuse(codeType, inlineParam, "must be an array, not %s", jsonvalue.Article(given))
	case sent != nil:
		content := io.NewSectionReader(sent.Body, 0, sent.Size)
		return &dataset{training.Input{Body: content, File: sent.Name, Name: sent.Name}, idParam, func() {}}, nil
	case id == "":
		return nil, nil
	}
	f, file, err := s.openFile(who, id)
	if errors.Is(err, training.ErrFile) {
		return nil, refuse(codeValue, idParam, "is %q, which is no uploaded file; POST /v1/files uploads one", id)
	}
	if err != nil {
		return nil, err
	}
	return &dataset{training.Input{Body: f, File: file.ID, Name: file.Name}, idParam, func() { _ = f.Close() }}, nil // it was only read
}

// trainForm is a training job that comes as a form: its files go to temporary ones.
type trainForm struct {
	*upload
	fields               map[string]json.RawMessage
	training, validation *adapters.Part
}

// readTrainForm receives a form and hands it to do.
func (s *Server) readTrainForm(c *fiber.Ctx, boundary string, do func(*fiber.Ctx, []byte, *trainForm) error) error {
	if s.draining.Load() {
		return errDraining()
	}
	u, body, err := s.newUpload(c, s.maxDataset)
	if err != nil {
		return err
	}
	f := &trainForm{upload: u, fields: map[string]json.RawMessage{}}
	defer f.close()
	if err := f.receive(multipart.NewReader(body, boundary)); err != nil {
		return refuseUpload(c, body, err, s.maxDataset)
	}
	if err := readRest(body); err != nil {
		return err
	}
	object, err := json.Marshal(f.fields)
	if err != nil {
		return err
	}
	return do(c, object, f)
}

// receive reads all parts.
func (f *trainForm) receive(form *multipart.Reader) error {
	for n := 0; ; n++ {
		p, err := form.NextPart()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return formError(err)
		case n == 4*maxParts:
			return refuse(codeValue, "file", "comes in a form of more than %d parts", 4*maxParts)
		case p.FileName() != "":
			err = f.take(p)
		default:
			err = f.field(p)
		}
		if err != nil {
			return err
		}
	}
}

// take receives a file.
func (f *trainForm) take(p *multipart.Part) error {
	place := &f.training
	if p.FormName() == "validation_file" {
		place = &f.validation
	}
	if *place != nil {
		return refuse(codeValue, p.FormName(), "is given twice")
	}
	if err := f.file(p); err != nil {
		return err
	}
	part := f.parts[len(f.parts)-1]
	*place = &part
	return nil
}

// field reads a part without a filename: JSON where it can be, else a string.
func (f *trainForm) field(p *multipart.Part) error {
	text, err := io.ReadAll(io.LimitReader(p, maxTrainField+1))
	if err != nil {
		return formError(err)
	}
	name := p.FormName()
	switch {
	case len(text) > maxTrainField:
		return refuse(codeValue, name, "is longer than %d bytes", maxTrainField)
	case name == "name" || name == "from" || name == "training_file" || name == "validation_file" || !json.Valid(text):
		f.fields[name] = jsonvalue.AppendString(nil, string(text))
	default:
		f.fields[name] = text
	}
	return nil
}
