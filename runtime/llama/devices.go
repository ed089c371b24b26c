//go:build cgo && linux

package llama

// #include <stdlib.h>
// #include "c_api.h"
import "C"

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// backends guards ggml's registry, which has no lock, and the libraries that were loaded into it.
var backends struct {
	sync.RWMutex
	libraries map[string]string // the path of the library that brought a back end, by the back end's name
}

// LoadBackend loads a back end of ggml from the shared object at path; its devices stay until the process ends. The name of the
// file must end with -BackendVersion.so. The error wraps ErrBackend.
func LoadBackend(path string) error {
	if err := checkBackendName(path); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrBackend, path, err)
	}
	backends.Lock()
	defer backends.Unlock()
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if slices.Contains(slices.Collect(maps.Values(backends.libraries)), path) {
		return nil
	}
	before := int(C.ll_device_count())
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	var e C.ll_error
	if C.ll_backend_load(name, &e) != C.LL_OK {
		return fmt.Errorf("%w: %s: %w", ErrBackend, path, cError(&e))
	}
	if backends.libraries == nil {
		backends.libraries = map[string]string{}
	}
	if int(C.ll_device_count()) == before {
		return fmt.Errorf("%w: %s: it has no device on this system", ErrBackend, path)
	}
	for _, d := range describeDevices() {
		if _, known := backends.libraries[d.Backend]; !known && d.Backend != "CPU" {
			backends.libraries[d.Backend] = path
		}
	}
	return nil
}

// LoadBackends loads the back ends in a folder: the files named libggml-*.so. It returns why some were not, a reason for each; a
// folder that does not exist holds none. Those that are loaded already are passed over.
func LoadBackends(dir string) []error {
	paths, err := filepath.Glob(filepath.Join(dir, "libggml-*.so"))
	if err != nil {
		return []error{fmt.Errorf("%w: %s: %w", ErrBackend, dir, err)}
	}
	var failed []error
	for _, path := range paths {
		if err := LoadBackend(path); err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

// Devices lists the devices of all back ends; the CPU is one of them.
func Devices() []DeviceInfo {
	backends.RLock()
	defer backends.RUnlock()
	return describeDevices()
}

func describeDevices() []DeviceInfo {
	types := map[C.int]DeviceType{C.LL_CPU: CPU, C.LL_GPU: GPU, C.LL_IGPU: IntegratedGPU, C.LL_ACCELERATOR: Accelerator}
	var out []DeviceInfo
	for i := range C.ll_device_count() {
		var d C.ll_device_info
		C.ll_device_describe(i, &d)
		info := DeviceInfo{
			Name: C.GoString(d.name), Description: C.GoString(d.description), Type: types[d._type], Backend: C.GoString(d.backend),
			Memory: int64(d.memory), Free: int64(min(d.free, d.memory)),
		}
		info.Library = backends.libraries[info.Backend]
		out = append(out, info)
	}
	return out
}

// choose returns the device that is to compute layers, and how many; "" and 0 where the CPU computes all.
func (o Options) choose(file *quant.File, architecture string) (device string, layers int, err error) {
	if o.GPULayers == 0 {
		return "", 0, nil
	}
	d, err := o.device()
	if err != nil || d.Name == "" {
		return "", 0, err
	}
	switch {
	case o.GPULayers == AutoLayers:
		bytes, err := layerBytes(file, architecture, o.Room)
		if err != nil {
			return "", 0, err
		}
		if layers = layersThatFit(bytes, d.Free, o.Room.Bytes); layers == 0 {
			return "", 0, nil
		}
		return d.Name, layers, nil
	case o.GPULayers < 0:
		return d.Name, math.MaxInt32, nil
	}
	return d.Name, min(o.GPULayers, math.MaxInt32), nil
}

// device returns the one that layers are to run on; none for AutoLayers without a GPU.
func (o Options) device() (DeviceInfo, error) {
	var names []string
	for _, d := range Devices() {
		switch {
		case d.Name == o.Device && !d.Type.computesLayers():
			return d, fmt.Errorf("%s is no GPU: it cannot hold layers", d.Name)
		case d.Name == o.Device, o.Device == "" && d.Type == GPU, o.Device == "" && d.Type == IntegratedGPU && o.GPULayers != AutoLayers:
			return d, nil
		}
		names = append(names, d.Name)
	}
	switch {
	case o.Device != "":
		return DeviceInfo{}, fmt.Errorf("there is no device %s; there are: %s", o.Device, strings.Join(names, ", "))
	case o.GPULayers == AutoLayers:
		return DeviceInfo{}, nil
	}
	return DeviceInfo{}, errors.New("layers are to run on a GPU, and there is none")
}

// onDevice tells whether llama.cpp puts a matrix of a model of so many blocks onto the device that holds so many layers: the last
// blocks, and the head as the one after them.
func onDevice(tensor string, blocks, layers int) bool {
	var block int
	switch n, _ := fmt.Sscanf(tensor, "blk.%d.", &block); {
	case n == 1:
		return block >= blocks-layers
	case tensor == "output.weight":
		return layers > blocks
	}
	return false
}

// checkBackendName refuses a library that was built of other sources than this program: ggml itself compares only the number of
// its interface, which stays the same while the structures that both use change.
func checkBackendName(path string) error {
	if ok, _ := filepath.Match("libggml-*-"+BackendVersion+".so", filepath.Base(path)); !ok {
		return fmt.Errorf("this program loads back ends that are built from the sources of its own llama.cpp, named libggml-NAME-%s.so", BackendVersion)
	}
	return nil
}
