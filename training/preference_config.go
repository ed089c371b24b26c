package training

import (
	"fmt"
	"math"
)

// This file has the fields of Config that the method dpo reads.

// The losses of the method dpo, by TRL's names.
const (
	Sigmoid = "sigmoid" // DPO's own
	IPO     = "ipo"
	ORPO    = "orpo"
	SimPO   = "simpo"
	KTO     = "kto" // of answers with labels, not pairs
)

// usualBeta is the beta of each loss where a job sets none.
var usualBeta = map[string]float64{Sigmoid: 0.1, IPO: 0.1, ORPO: 0.1, SimPO: 2, KTO: 0.1}

// lossNames are the names of losses that may be given as the method: TRL has a trainer for each.
var lossNames = map[string]string{IPO: IPO, ORPO: ORPO, SimPO: SimPO, KTO: KTO}

// maxBeta bounds beta: a log-probability times a larger number says nothing.
const maxBeta = 1000

// checkPreference checks the fields of the method dpo.
func (c *Config) checkPreference() *FieldError {
	if c.Method != DPO {
		return nil
	}
	_, known := usualBeta[c.lossType()]
	return firstBroken([]rule{
		{known, "loss_type", quoted(c.LossType), `"sigmoid", "ipo", "orpo", "simpo" or "kto"`},
		{c.Beta == nil || *c.Beta >= minFloat && *c.Beta <= maxBeta, "beta", number(c.Beta), fmt.Sprintf("a number above 0, at most %d", maxBeta)},
		{!c.Packing, "packing", c.Packing, "false, which pairs need,"},
		{c.Dropout == 0, "lora_dropout", c.Dropout, "0, as the loss compares log-probabilities without it,"},
		{c.NEFTune == 0, "neftune_noise_alpha", c.NEFTune, "0, as the loss compares log-probabilities without it,"},
		{!c.TrainOnInputs, "train_on_inputs", c.TrainOnInputs, "false, as answers alone are compared,"},
		{c.LabelSmoothing == 0 || c.lossType() == Sigmoid || c.lossType() == SimPO, "label_smoothing", c.LabelSmoothing, "0, or a loss_type of sigmoid or simpo,"},
	})
}

// checkLossSettings checks the settings of losses, whatever the method is.
func (c *Config) checkLossSettings() *FieldError {
	return firstBroken([]rule{
		{c.LabelSmoothing >= 0 && c.LabelSmoothing < 0.5, "label_smoothing", c.LabelSmoothing, "a number from 0 to less than 0.5"},
		{c.SimPOGamma >= 0 && c.SimPOGamma <= maxBeta, "simpo_gamma", c.SimPOGamma, fmt.Sprintf("a number from 0 to %d", maxBeta)},
		{c.DesirableWeight >= 0 && c.DesirableWeight <= maxBeta, "desirable_weight", c.DesirableWeight, fmt.Sprintf("a number from 0 to %d", maxBeta)},
		{c.UndesirableWeight >= 0 && c.UndesirableWeight <= maxBeta, "undesirable_weight", c.UndesirableWeight, fmt.Sprintf("a number from 0 to %d", maxBeta)},
		{c.Method != Supervised || c.LossType == "" || c.LossType == "nll", "loss_type", quoted(c.LossType), `"nll", or a method other than supervised,`},
		{c.Beta == nil || !math.IsNaN(*c.Beta), "beta", number(c.Beta), "a number"},
	})
}

// number is what a pointer to a number points to.
func number(x *float64) any {
	if x == nil {
		return "missing"
	}
	return *x
}

// lossType is the loss of the method dpo.
func (c *Config) lossType() string {
	if c.LossType == "" {
		return Sigmoid
	}
	return c.LossType
}

// beta is the factor of the rewards, or what suits the loss.
func (c *Config) beta() float64 {
	if c.Beta != nil {
		return *c.Beta
	}
	return usualBeta[c.lossType()]
}

// hasReference reports whether the loss compares the adapter with a reference model.
func (c *Config) hasReference() bool { return c.lossType() != ORPO && c.lossType() != SimPO }

// fitPreference puts what a missing field of the method dpo means in its place.
func (c *Config) fitPreference() {
	if c.Method != DPO {
		return
	}
	c.LossType = c.lossType()
	beta := c.beta()
	c.Beta = &beta
}
