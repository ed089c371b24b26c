package training

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Init is how the adapter begins, by PEFT's names: true, "gaussian", "orthogonal", "pissa", "pissa_niter_N", "olora" or "loftq"; "" is true.
type Init string

const initNames = `true, "gaussian", "orthogonal", "pissa", "pissa_niter_" with a number from 1 to 1000, "olora", or "loftq"`

// UnmarshalJSON reads true or a name. Names of PEFT that cannot be are refused with the reason.
func (i *Init) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "null", "true":
		*i = ""
		return nil
	case "false":
		return errors.New("the adapter would not begin as the base; true or a name is expected")
	}
	var name string
	if err := json.Unmarshal(data, &name); err != nil {
		return errors.New("true or a name is expected")
	}
	name = strings.ToLower(name)
	if reason, ok := impossibleInits[name]; ok {
		return errors.New(reason)
	}
	if name == "true" {
		name = ""
	}
	*i = Init(name)
	return nil
}

// impossibleInits are PEFT's initialisations that are not possible here.
var impossibleInits = map[string]string{
	"eva":     "it needs activations on data before the training",
	"corda":   "it needs covariances of activations before the training",
	"lora_ga": "it needs gradients on data before the training",
}

// MarshalJSON writes it as it is read.
func (i Init) MarshalJSON() ([]byte, error) {
	if i == "" {
		return []byte("true"), nil
	}
	return json.Marshal(string(i))
}

// checkLoftQ reads PEFT's loftq_config. The base stays as it is quantized, so that there is one iteration.
func checkLoftQ(value json.RawMessage) (ok bool, reason string) {
	var fields map[string]*int
	if err := json.Unmarshal(value, &fields); err != nil {
		return false, "an object with loftq_bits and loftq_iter is expected"
	}
	for name, n := range fields {
		switch {
		case n == nil || name == "loftq_bits": // which the base has already
		case name != "loftq_iter":
			return false, strconv.Quote(name) + " is not known: loftq_bits and loftq_iter are"
		case *n != 1:
			return false, "loftq_iter other than 1 would quantize the base again, which stays as it is"
		}
	}
	return true, ""
}

func (i Init) known() bool {
	_, _, ok := i.read()
	return ok
}

// read returns how modules begin, and with how many iterations.
func (i Init) read() (how runtime.TrainInit, iterations int, ok bool) {
	switch i {
	case "":
		return runtime.InitDefault, 0, true
	case "gaussian":
		return runtime.InitGaussian, 0, true
	case "orthogonal":
		return runtime.InitOrthogonal, 0, true
	case "olora":
		return runtime.InitOLoRA, 0, true
	case "loftq":
		return runtime.InitLoftQ, 0, true
	case "pissa":
		return runtime.InitPiSSA, 0, true
	}
	if digits, found := strings.CutPrefix(string(i), "pissa_niter_"); found {
		n, err := strconv.Atoi(digits)
		return runtime.InitPiSSA, n, err == nil && n >= 1 && n <= 1000 && digits == strconv.Itoa(n)
	}
	return 0, 0, false
}
