package graders

import (
	"errors"
	"fmt"
)

// ErrGrader is what every error about a definition wraps.
var ErrGrader = errors.New("invalid grader")

// FieldError is an ErrGrader that names the field at fault.
type FieldError struct {
	Field       string // "grader.graders.shape.operation"
	Reason      string // continues the field's name: "is missing"
	Unsupported bool   // the value is one that OpenAI has and this server has not
}

// Error names the field.
func (e *FieldError) Error() string { return fmt.Sprintf("%s %s", e.Field, e.Reason) }

// Unwrap makes it an ErrGrader.
func (e *FieldError) Unwrap() error { return ErrGrader }

// Fault says what went wrong when a grader could not grade, by the names of OpenAI's metadata.errors.
type Fault string

// The faults.
const (
	FormulaFault       Fault = "formula_parse_error"         // calculate_output has no finite value
	VariableFault      Fault = "invalid_variable_error"      // a template names what the item has not
	SampleFault        Fault = "sample_parse_error"          // a template wants JSON of an answer that is none
	TruncatedFault     Fault = "truncated_observation_error" // a template makes a text that is too long
	TimeFault          Fault = "unresponsive_reward_error"   // the time was over
	ModelFault         Fault = "model_grader_server_error"   // the model that scores could not be asked
	RefusalFault       Fault = "model_grader_refusal_error"  // it refused
	ModelParseFault    Fault = "model_grader_parse_error"    // its answer has no score
	PythonFault        Fault = "python_grader_server_error"  // the sandbox could not be run
	PythonRuntimeFault Fault = "python_grader_runtime_error" // the source failed in it
	OtherFault         Fault = "other_error"
)

// Failure says that a grader could not grade an answer.
type Failure struct {
	Grader string // its name
	Fault  Fault
	Reason string
	Err    error // what it came from; may be nil
}

// Error names the grader.
func (f *Failure) Error() string { return fmt.Sprintf("grader %q: %s", f.Grader, f.Reason) }

// Unwrap returns what it came from.
func (f *Failure) Unwrap() error { return f.Err }
