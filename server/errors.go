package server

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/adapters/merge"
	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/batches"
	"github.com/lorikeet-ai/lorikeet/fetch"
	"github.com/lorikeet-ai/lorikeet/internal/disk"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/tenants"
	"github.com/lorikeet-ai/lorikeet/tinker"
	"github.com/lorikeet-ai/lorikeet/training"
)

// This file is the only place that maps errors to HTTP statuses.

// The types of an error, by OpenAI's names.
const (
	requestFault = "invalid_request_error"
	rateFault    = "rate_limit_error"
	serverFault  = "server_error"
)

// Codes that the server itself gives.
const (
	codeMissing     = "missing_required_parameter"
	codeType        = "invalid_type"
	codeValue       = "invalid_value"
	codeUnsupported = "unsupported_value"
	codeJSON        = "invalid_json"
	codeModel       = "model_not_found"
	codeTooLarge    = "body_too_large"
	codeNotAllowed  = "source_not_allowed"

	codeForeignHost   = "foreign_host"
	codeForeignOrigin = "foreign_origin"
)

// errClientGone means that the client has closed its connection, so that nobody reads an answer.
var errClientGone = errors.New("the client disconnected")

// statusClientClosed is what the log and the metrics say of a request whose client has disconnected, as nginx does.
const statusClientClosed = 499

// errorEntry describes how errors that wrap is are reported to a client.
type errorEntry struct {
	is     error
	status int
	kind   string
	code   string
	param  string // the field at fault, where the place that returned the error did not name it
}

// errorTable is searched from the top; errors that are not in it are answered with 500.
var errorTable = []errorEntry{
	{runtime.ErrMemory, http.StatusServiceUnavailable, serverFault, "out_of_memory", ""}, // first: what it comes wrapped in says otherwise, but too little memory is not the client's fault
	{disk.ErrNoSpace, http.StatusInsufficientStorage, serverFault, "no_space", ""},
	{runtime.ErrQueueFull, http.StatusTooManyRequests, rateFault, "queue_full", ""},
	{runtime.ErrDraining, http.StatusServiceUnavailable, serverFault, "shutting_down", ""},
	{runtime.ErrClosed, http.StatusServiceUnavailable, serverFault, "shutting_down", ""},
	{adapters.ErrUnavailable, http.StatusServiceUnavailable, serverFault, "cluster_unavailable", ""},
	{adapters.ErrClosed, http.StatusServiceUnavailable, serverFault, "shutting_down", ""},
	{runtime.ErrDeadline, http.StatusGatewayTimeout, serverFault, "deadline_exceeded", ""},
	{runtime.ErrContextLength, http.StatusBadRequest, requestFault, "context_length_exceeded", "prompt"},
	{runtime.ErrSampling, http.StatusBadRequest, requestFault, codeValue, ""},
	{runtime.ErrPrompt, http.StatusBadRequest, requestFault, codeValue, "prompt"},
	{runtime.ErrTemplate, http.StatusBadRequest, requestFault, "template_error", "messages"},
	{adapters.ErrUnknown, http.StatusNotFound, requestFault, "adapter_not_found", "adapter"},
	{adapters.ErrName, http.StatusBadRequest, requestFault, codeValue, "name"},
	{adapters.ErrReference, http.StatusBadRequest, requestFault, codeValue, "adapter"},
	{adapters.ErrPath, http.StatusBadRequest, requestFault, "path_not_allowed", "path"},
	{adapters.ErrTooLarge, http.StatusRequestEntityTooLarge, requestFault, "adapter_too_large", "file"},
	{adapters.ErrDamaged, http.StatusInternalServerError, serverFault, "adapter_damaged", "adapter"},
	{merge.ErrRefused, http.StatusBadRequest, requestFault, codeValue, "from"},
	{peft.ErrUnsupported, http.StatusBadRequest, requestFault, "adapter_unsupported", "adapter"},
	{peft.ErrFormat, http.StatusBadRequest, requestFault, "adapter_unreadable", "adapter"},
	{runtime.ErrAdapter, http.StatusBadRequest, requestFault, "adapter_mismatch", "adapter"},
	{runtime.ErrNoRoom, http.StatusServiceUnavailable, serverFault, "no_room", ""},
	{runtime.ErrLogits, http.StatusInternalServerError, serverFault, "logits_not_numbers", ""},
	{runtime.ErrGrammarCost, http.StatusBadRequest, requestFault, "grammar_too_complex", "grammar"},
	{runtime.ErrSampler, http.StatusInternalServerError, serverFault, "sampler_failed", ""},
	{runtime.ErrNoToken, http.StatusBadRequest, requestFault, "no_token", ""},
	{runtime.ErrDecode, http.StatusInternalServerError, serverFault, "decode_failed", ""},
	{batches.ErrUnknown, http.StatusNotFound, requestFault, "batch_not_found", "id"},
	{batches.ErrState, http.StatusConflict, requestFault, "wrong_state", "id"},
	{batches.ErrTooMany, http.StatusTooManyRequests, rateFault, "batch_queue_full", ""},
	{batches.ErrTooLarge, http.StatusRequestEntityTooLarge, requestFault, "batch_too_large", "input_file_id"},
	{batches.ErrClosed, http.StatusServiceUnavailable, serverFault, "shutting_down", ""},
	{training.ErrConfig, http.StatusBadRequest, requestFault, codeValue, ""},
	{training.ErrDataset, http.StatusBadRequest, requestFault, training.CodeDataset, "training_file"},
	{training.ErrUnknown, http.StatusNotFound, requestFault, "training_job_not_found", "id"},
	{training.ErrFile, http.StatusNotFound, requestFault, "file_not_found", "id"},
	{training.ErrFilesFull, http.StatusInsufficientStorage, serverFault, "files_full", "file"},
	{training.ErrState, http.StatusConflict, requestFault, "wrong_state", "id"},
	{training.ErrTooLarge, http.StatusRequestEntityTooLarge, requestFault, "dataset_too_large", "training_file"},
	{training.ErrQueueFull, http.StatusTooManyRequests, rateFault, "training_queue_full", ""},
	{training.ErrClosed, http.StatusServiceUnavailable, serverFault, "shutting_down", ""},
	{training.ErrDamaged, http.StatusInternalServerError, serverFault, "training_job_damaged", "id"},
	{runtime.ErrTrainBusy, http.StatusServiceUnavailable, serverFault, "training_memory_in_use", ""},
	{runtime.ErrTrainMemory, http.StatusBadRequest, requestFault, "training_memory", "max_length"},
	{runtime.ErrTrain, http.StatusBadRequest, requestFault, "training_unsupported", "model"},
	{tinker.ErrInvalid, http.StatusBadRequest, requestFault, codeValue, ""},
	{tinker.ErrUnknown, http.StatusNotFound, requestFault, "not_found", ""},
	{tinker.ErrExpired, http.StatusGone, requestFault, "expired", ""},
	{tinker.ErrTooMany, http.StatusTooManyRequests, rateFault, "too_many", ""},
	{tinker.ErrClosed, http.StatusServiceUnavailable, serverFault, "shutting_down", ""},
	{fetch.ErrSource, http.StatusBadRequest, requestFault, codeValue, "source"},
	{fetch.ErrContent, http.StatusBadRequest, requestFault, "source_unusable", "source"},
	{fetch.ErrNotFound, http.StatusNotFound, requestFault, "source_not_found", "source"},
	{fetch.ErrDenied, http.StatusForbidden, requestFault, "source_denied", "source"},
	{fetch.ErrOffline, http.StatusForbidden, requestFault, codeNotAllowed, "source"},
	{fetch.ErrTooLarge, http.StatusRequestEntityTooLarge, requestFault, "adapter_too_large", "source"},
	{disk.ErrBusy, http.StatusServiceUnavailable, serverFault, "busy", ""},
	{fetch.ErrChecksum, http.StatusBadGateway, serverFault, "source_checksum", "source"},
	{fetch.ErrCut, http.StatusBadGateway, serverFault, "source_cut_off", "source"},
	{fetch.ErrUnreachable, http.StatusBadGateway, serverFault, "source_unreachable", "source"},
	{fetch.ErrBusy, http.StatusServiceUnavailable, serverFault, "source_busy", "source"},
	{errBusy, http.StatusServiceUnavailable, serverFault, "busy", ""},
	{errClientGone, statusClientClosed, requestFault, "client_gone", ""},
}

// samplingParams are the fields that an ErrSampling may name.
var samplingParams = []string{"grammar", "logit_bias"}

// refusal is an error of this package, with its status, code, field and message.
type refusal struct {
	status  int
	param   string
	code    string
	message string
}

func (r *refusal) Error() string { return r.message }

// refuse makes a 400 that names the field at fault; the message begins with it.
func refuse(code, param, format string, args ...any) error {
	return &refusal{
		status: http.StatusBadRequest, param: param, code: code,
		message: param + " " + fmt.Sprintf(format, args...),
	}
}

// paramError is an error that a field of the request caused.
type paramError struct {
	param string
	err   error
}

func (l *paramError) Error() string { return l.err.Error() }
func (l *paramError) Unwrap() error { return l.err }

// withParam says which field caused err; nil stays nil.
func withParam(param string, err error) error {
	if err == nil {
		return nil
	}
	return &paramError{param, err}
}

// describe returns what a client is sent about err. Details of internal errors are only logged.
func describe(err error) (status int, e openapi.Error) {
	var own *refusal
	if errors.As(err, &own) {
		return own.status, newError(requestFault, own.code, own.param, own.message)
	}
	var fault *fiber.Error
	if errors.As(err, &fault) {
		return describeHTTP(fault)
	}
	err = disk.NoSpace(err)
	if failed := disk.Failed(err); failed != nil {
		return http.StatusInternalServerError, newError(serverFault, "disk_failed", "", failed.Error())
	}
	for _, r := range errorTable {
		if errors.Is(err, r.is) {
			return r.status, newError(r.kind, r.code, paramOf(err, r), messageOf(err, r))
		}
	}
	return http.StatusInternalServerError, newError(serverFault, "internal_error", "", "internal error; the server's log says more")
}

// newError returns an error in OpenAI's format, in which empty fields are null.
func newError(kind, code, param, message string) openapi.Error {
	e := openapi.Error{Type: kind, Message: message}
	if code != "" {
		e.Code = &code
	}
	if param != "" {
		e.Param = &param
	}
	return e
}

// paramOf names the field at fault.
func paramOf(err error, r errorEntry) string {
	var l *paramError
	if errors.As(err, &l) {
		return l.param
	}
	var field *tinker.FieldError
	if errors.As(err, &field) {
		return field.Field
	}
	if errors.Is(r.is, runtime.ErrSampling) {
		for _, p := range samplingParams {
			if strings.Contains(err.Error(), p) {
				return p
			}
		}
	}
	return r.param
}

// exposed reports whether a client is sent the whole error message: for errors that the client caused, for those that say
// how much memory there is, and for failures of another server, whose messages package fetch keeps free of secrets.
func (r errorEntry) exposed() bool {
	return r.status < 500 || errors.Is(r.is, runtime.ErrMemory) || errors.Is(r.is, training.ErrFilesFull) || strings.HasPrefix(r.code, "source_")
}

// messageOf returns the whole message of an error that may be exposed, and only the name of any other.
func messageOf(err error, r errorEntry) string {
	var ce *runtime.ContextError
	switch {
	case errors.As(err, &ce):
		what, least := paramOf(err, r), ""
		if ce.AtLeast {
			least = "at least "
		}
		return fmt.Sprintf("This model's maximum context length is %d tokens. However, your %s resulted in %s%d tokens. "+
			"Please reduce the length of the %s.", ce.Context, what, least, ce.Prompt, what)
	case !r.exposed():
		return r.is.Error()
	}
	return err.Error()
}

// describeHTTP returns Fiber's own errors (unknown routes, malformed HTTP) in OpenAI's format.
func describeHTTP(e *fiber.Error) (int, openapi.Error) {
	code := strings.ReplaceAll(strings.ToLower(http.StatusText(e.Code)), " ", "_")
	kind := requestFault
	if e.Code >= 500 {
		kind = serverFault
	}
	message := e.Message
	switch e.Code {
	case http.StatusNotFound:
		code, message = "unknown_url", "there is no such URL; /docs lists them"
	case http.StatusMethodNotAllowed:
		message = "this URL has other methods; /docs lists them"
	}
	if field, fault, ok := badParameter(message); ok {
		return e.Code, newError(kind, codeType, field, fault)
	}
	// fasthttp goes on with the request's bytes, which a client knows and which may have its key in them.
	message, _, _ = strings.Cut(message, ": buffer size=")
	return e.Code, newError(kind, code, "", message)
}

// badParameter reads what the generated code says of a parameter that it cannot read, and says it in our words.
func badParameter(message string) (field, fault string, ok bool) {
	rest, ok := strings.CutPrefix(message, "Invalid format for parameter ")
	if !ok {
		return "", "", false
	}
	field, why, ok := strings.Cut(rest, ": ")
	switch {
	case !ok:
		return "", "", false
	case strings.Contains(why, "strconv.ParseInt"):
		return field, field + " must be an integer", true
	case strings.Contains(why, "strconv.ParseBool"):
		return field, field + " must be true or false", true
	case strings.Contains(why, "multiple values"):
		return field, field + " is given more than once", true
	}
	return field, field + " cannot be read: " + why, true
}

// fail sends err to the client and logs it where the server is at fault. It is Fiber's ErrorHandler.
func (s *Server) fail(c *fiber.Ctx, err error) error {
	hideOthers(callerOf(c), err)
	var limit *tenants.LimitError
	if errors.As(err, &limit) {
		return sendError(c, http.StatusTooManyRequests, rateLimitError(c, limit))
	}
	status, e := describe(err)
	if status == http.StatusTooManyRequests || errors.Is(err, disk.ErrBusy) || errors.Is(err, errBusy) {
		c.Set(fiber.HeaderRetryAfter, strconv.Itoa(retryAfter))
	}
	if status >= 500 && !errors.Is(err, errBusy) { // which is as ordinary as a full queue
		s.log.Error().Err(err).Str("request", requestID(c)).Str("method", c.Method()).Str("path", c.Path()).Int("status", status).Msg("request failed")
	}
	return sendError(c, status, e)
}

// sendError answers with an error in the shape of the API that was asked.
func sendError(c *fiber.Ctx, status int, e openapi.Error) error {
	if isMessages(c.Path()) {
		return sendJSON(c, status, messagesError(status, e, requestID(c)))
	}
	if strings.HasPrefix(c.Path(), "/api/") && !strings.HasPrefix(c.Path(), tinkerPath) {
		return sendJSON(c, status, ollamaError(e))
	}
	return sendJSON(c, status, openapi.ErrorResponse{Error: e})
}

// retryAfter is how many seconds a client waits before it asks a full queue again: most answers take about that.
const retryAfter = 1
