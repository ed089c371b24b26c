//go:build cgo && linux

package llama

// #include "c_api.h"
import "C"

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/internal/parallel"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Packed is an adapter in our kernels' layout, for one model. It implements runtime.Packed. A device that
// it is set on keeps its memory until the sequence gets others.
type Packed struct {
	model *Model
	bytes int64

	closed atomic.Bool // read without mu, which is held while it is copied to a device

	mu  sync.Mutex
	ptr *C.ll_pack
}

var _ runtime.Packed = (*Packed)(nil)

// Pack implements runtime.Model.
func (m *Model) Pack(a *runtime.LoRA) (runtime.Packed, error) {
	ptr, release, err := m.acquire()
	if err != nil {
		return nil, err
	}
	defer release()
	var e C.ll_error
	pack := C.ll_pack_new(ptr, flag(m.packFloat32), flag(m.keepPlain), C.int64_t(m.packNeed(ptr, a)), &e)
	if pack == nil {
		return nil, fmt.Errorf("%w: %w", runtime.ErrAdapter, cError(&e))
	}
	err = m.addAll(pack, a.Modules)
	for i := 0; err == nil && i < len(a.Biases); i++ {
		err = m.addBias(pack, &a.Biases[i])
	}
	for i := 0; err == nil && i < len(a.Rows); i++ {
		err = m.addRows(pack, &a.Rows[i])
	}
	for i := 0; err == nil && i < len(a.Norms); i++ {
		err = m.addNorm(pack, &a.Norms[i])
	}
	if err != nil {
		C.ll_pack_free(pack)
		return nil, fmt.Errorf("%w: %w", runtime.ErrAdapter, err)
	}
	return &Packed{model: m, bytes: int64(C.ll_pack_bytes(pack)), ptr: pack}, nil
}

// packNeed returns the bytes that an adapter will take. What does not fit the base counts for nothing: it will be refused.
func (m *Model) packNeed(ptr *C.ll_model, a *runtime.LoRA) int64 {
	sum := int64(0)
	count := func(kind C.int, tensor string, n int) {
		places := m.targets
		if kind == C.LL_NORM {
			places = m.norms
		}
		if target, ok := places[tensor]; ok {
			part := C.ll_part{kind: kind, target: C.int(target), n: C.int(min(n, math.MaxInt32))}
			sum += int64(C.ll_pack_need(ptr, flag(m.packFloat32), flag(m.keepPlain), &part))
		}
	}
	for i := range a.Modules {
		kind := C.int(C.LL_LORA)
		if a.Modules[i].Magnitude != nil {
			kind = C.LL_DORA
		}
		count(kind, a.Modules[i].Tensor, a.Modules[i].Rank)
	}
	for i := range a.Biases {
		count(C.LL_BIAS, a.Biases[i].Tensor, 0)
	}
	for i := range a.Rows {
		count(C.LL_ROWS, a.Rows[i].Tensor, len(a.Rows[i].Values)/max(a.Rows[i].Width, 1))
	}
	for i := range a.Norms {
		count(C.LL_NORM, a.Norms[i].Tensor, 0)
	}
	return sum
}

// addAll adds the modules on as many threads as there are; the first one that does not fit is the error.
func (m *Model) addAll(pack *C.ll_pack, modules []runtime.LoRAModule) error {
	seen := map[string]bool{}
	for _, module := range modules {
		if seen[module.Tensor] {
			return fmt.Errorf("%s occurs twice", module.Tensor)
		}
		seen[module.Tensor] = true
	}
	return parallel.Each(len(modules), func(i int) error { return m.add(pack, modules[i]) })
}

func (m *Model) add(pack *C.ll_pack, module runtime.LoRAModule) error {
	shape, ok := m.facts.Targets[module.Tensor]
	if !ok {
		if reason, refused := m.facts.Refused[module.Tensor]; refused {
			return fmt.Errorf("%s: %s", module.Tensor, reason)
		}
		return fmt.Errorf("%s: the base has no such tensor", module.Tensor)
	}
	if module.In != shape.In || module.Out != shape.Out {
		return fmt.Errorf("%s: it maps %d to %d features, the base %d to %d", module.Tensor, module.In, module.Out, shape.In, shape.Out)
	}
	if module.Rank < 1 || len(module.A) != module.Rank*shape.In || len(module.B) != module.Rank*shape.Out {
		return fmt.Errorf("%s: rank %d with %d values in A and %d in B do not go together", module.Tensor, module.Rank, len(module.A), len(module.B))
	}
	if n := module.MagnitudeSize(); module.Magnitude != nil && len(module.Magnitude) != n {
		return fmt.Errorf("%s: a magnitude vector of %d values, %d are expected", module.Tensor, len(module.Magnitude), n)
	}
	var e C.ll_error
	code := C.ll_pack_add(pack, C.int(m.targets[module.Tensor]), C.int(module.Rank), C.float(module.Scale),
		(*C.float)(unsafe.SliceData(module.A)), (*C.float)(unsafe.SliceData(module.B)),
		(*C.float)(unsafe.SliceData(module.Magnitude)), &e)
	if code != C.LL_OK {
		return cError(&e)
	}
	return nil
}

func (m *Model) addBias(pack *C.ll_pack, b *runtime.LoRABias) error {
	shape, ok := m.facts.Targets[b.Tensor]
	if !ok || len(b.Values) != shape.Out {
		return fmt.Errorf("%s: a bias of %d values is not one of the base's %d outputs", b.Tensor, len(b.Values), shape.Out)
	}
	var e C.ll_error
	if C.ll_pack_add_bias(pack, C.int(m.targets[b.Tensor]), (*C.float)(&b.Values[0]), flag(b.Replaces), &e) != C.LL_OK {
		return cError(&e)
	}
	return nil
}

func (m *Model) addRows(pack *C.ll_pack, r *runtime.LoRARows) error {
	shape, ok := m.facts.Targets[r.Tensor]
	n := len(r.Tokens)
	if r.Tokens == nil {
		n = shape.Out
	}
	if !ok || n == 0 || r.Width != shape.In || len(r.Values) != n*r.Width {
		return fmt.Errorf("%s: %d values for %d rows of %d are not rows of the base's %d", r.Tensor, len(r.Values), n, r.Width, shape.In)
	}
	var e C.ll_error
	ids := (*C.int32_t)(unsafe.SliceData(r.Tokens))
	if C.ll_pack_add_rows(pack, C.int(m.targets[r.Tensor]), ids, C.int(n), (*C.float)(&r.Values[0]), &e) != C.LL_OK {
		return cError(&e)
	}
	return nil
}

func (m *Model) addNorm(pack *C.ll_pack, n *runtime.LoRANorm) error {
	width, ok := m.facts.Norms[n.Tensor]
	if !ok {
		if reason, refused := m.facts.Refused[n.Tensor]; refused {
			return fmt.Errorf("%s: %s", n.Tensor, reason)
		}
		return fmt.Errorf("%s: the base has no such norm", n.Tensor)
	}
	if len(n.Values) != width {
		return fmt.Errorf("%s: a norm's weight of %d values, the base's has %d", n.Tensor, len(n.Values), width)
	}
	var e C.ll_error
	if C.ll_pack_add_norm(pack, C.int(m.norms[n.Tensor]), (*C.float)(&n.Values[0]), &e) != C.LL_OK {
		return cError(&e)
	}
	return nil
}

// Bytes implements runtime.Packed.
func (p *Packed) Bytes() int64 { return p.bytes }

// Close implements runtime.Packed. It may be called twice, and on nil.
func (p *Packed) Close() error {
	if p == nil {
		return nil
	}
	p.closed.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ptr != nil {
		C.ll_pack_free(p.ptr)
		p.ptr = nil
	}
	return nil
}
