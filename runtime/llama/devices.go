//go:build cgo && linux

package llama

// #include <stdlib.h>
// #include "c_api.h"
import "C"

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"sync"
	"unsafe"
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
func (o Options) choose() (device string, layers int, err error) {
	if o.GPULayers == 0 {
		return "", 0, nil
	}
	layers = o.GPULayers
	if layers < 0 {
		layers = math.MaxInt32
	}
	for _, d := range Devices() {
		if d.Name == o.Device || o.Device == "" && d.Type.computesLayers() {
			if !d.Type.computesLayers() {
				return "", 0, fmt.Errorf("%s is no GPU: it cannot hold layers", d.Name)
			}
			return d.Name, min(layers, math.MaxInt32), nil
		}
	}
	if o.Device == "" {
		return "", 0, errors.New("layers are to run on a GPU, and this process has none")
	}
	return o.Device, layers, nil // the load names the devices that there are
}

// checkBackendName refuses a library that was built of other sources than this program: ggml itself compares only the number of
// its interface, which stays the same while the structures that both use change.
func checkBackendName(path string) error {
	if ok, _ := filepath.Match("libggml-*-"+BackendVersion+".so", filepath.Base(path)); !ok {
		return fmt.Errorf("this program loads back ends that are built from the sources of its own llama.cpp, named libggml-NAME-%s.so", BackendVersion)
	}
	return nil
}
