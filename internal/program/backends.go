package program

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/lorikeet-ai/lorikeet/runtime/llama"
)

// BackendsDir is the folder in which back ends for devices are looked for where none is named: lib beside the program.
func BackendsDir() string {
	self, err := os.Executable()
	if err != nil {
		return "lib"
	}
	return filepath.Join(filepath.Dir(self), "lib")
}

// load loads the model, onto the device that was asked for. Where none was, and the first GPU cannot have it, the CPU does.
func (p *Program) load(o llama.Options) (*llama.Model, error) {
	c := &p.config
	if c.GPULayers == 0 {
		return llama.Load(o)
	}
	if c.Backends == "" {
		c.Backends = BackendsDir()
	}
	failed := llama.LoadBackends(c.Backends)
	cells := c.Context
	if cells == 0 {
		cells = MaxContext
	}
	o.Device, o.GPULayers = c.Device, c.GPULayers
	o.Room = llama.Room{Cells: cells, KV: kvTypes[c.KVType], UBatch: min(c.UBatch, c.Batch), Bytes: slotBytes(c)}
	model, err := llama.Load(o)
	if err != nil && c.GPULayers == llama.AutoLayers && c.Device == "" && hasGPU() {
		failed = append(failed, err)
		o.GPULayers = 0
		model, err = llama.Load(o)
	}
	if err != nil && (c.Device != "" || c.GPULayers != llama.AutoLayers) {
		err = errors.Join(append([]error{err}, failed...)...) // a back end that is not there may be the cause
	}
	if err != nil {
		return nil, err
	}
	p.logDevice(model.Facts().Device, model.Facts().DeviceLayers, model.Facts().Layers+1, errors.Join(failed...))
	return model, nil
}

func hasGPU() bool {
	for _, d := range llama.Devices() {
		if d.Type == llama.GPU || d.Type == llama.IntegratedGPU {
			return true
		}
	}
	return false
}

// logDevice says in one line what computes the layers, and what could not be used.
func (p *Program) logDevice(device string, layers, of int, failed error) {
	event := p.log.Info()
	if failed != nil {
		event = p.log.Warn().AnErr("not_used", failed)
	}
	switch {
	case device != "":
		event.Str("device", device).Int("layers", layers).Int("of", of).Msg("layers are on a device")
	case hasGPU():
		event.Msg("the CPU computes all layers: none fits the free memory of the GPU, or it cannot have this model")
	default:
		event.Str("backends", p.config.Backends).Msg("the CPU computes all layers: there is no GPU, or no back end for it in the folder of --backends")
	}
}
