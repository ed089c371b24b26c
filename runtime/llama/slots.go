//go:build cgo && linux

package llama

// #include "c_api.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// defaultSlotRanks is how many ranks of adapters a device has memory for where nothing is said.
const defaultSlotRanks = 256

var _ runtime.Stager = (*Device)(nil)

// chooseSlots fills in what kind of slots a device has and how many ranks of them, and returns the bytes of a rank; 0: it
// has none.
func (o DeviceOptions) chooseSlots(m *Model, ptr *C.ll_model, w *C.ll_device_options) int64 {
	w.all_slots = flag(o.LoRA == MMID)
	w.slot_f32 = flag(o.Slots == SlotF32 || o.Slots == SlotAuto && (m.packFloat32 || C.ll_model_on_device(ptr) == 0))
	w.products = C.int32_t(o.Products)
	rankBytes := int64(C.ll_slot_rank_bytes(ptr, w.all_slots, w.slot_f32))
	if rankBytes == 0 {
		return 0
	}
	ranks := int64(defaultSlotRanks)
	if o.SlotBytes > 0 {
		ranks = min(o.SlotBytes/rankBytes, 1<<20) / slotBlock * slotBlock
	}
	w.slot_ranks = C.int32_t(ranks)
	return rankBytes
}

func (p *Packed) gone() bool { return p.closed.Load() }

// slotNeed returns what the adapter needs of a device's slots.
func (p *Packed) slotNeed(all bool) slotNeed {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ptr == nil {
		return slotNeed{}
	}
	var rank, vectors C.int32_t
	C.ll_pack_slots(p.ptr, flag(all), &rank, &vectors)
	return slotNeed{rank: int(rank), vectors: vectors != 0}
}

// upload copies an adapter into its slot.
func (d *Device) upload(a slotAdapter, s *slot) error {
	p := a.(*Packed)
	p.mu.Lock()
	defer p.mu.Unlock() // it is not to be closed meanwhile
	if p.ptr == nil {
		return fmt.Errorf("%w: it is closed", runtime.ErrAdapter)
	}
	var e C.ll_error
	if C.ll_device_upload(d.ptr, p.ptr, s.place(), &e) != C.LL_OK {
		return fmt.Errorf("%w: copying it to the device: %w", runtime.ErrAdapter, cError(&e))
	}
	return nil
}

func (s *slot) place() C.ll_place {
	return C.ll_place{lora: C.int32_t(s.spans[0].rank()), vectors: C.int32_t(s.spans[1].rank())}
}

// packs returns the adapters of a mix.
func (d *Device) packs(mix []runtime.Term) ([]slotAdapter, error) {
	packs := make([]slotAdapter, len(mix))
	for i, term := range mix {
		p, ok := term.Packed.(*Packed)
		if !ok || p == nil || p.model != d.model {
			return nil, fmt.Errorf("%w: it was packed for another device", runtime.ErrAdapter)
		}
		packs[i] = p
	}
	return packs, nil
}

// SetAdapters implements runtime.Device.
func (d *Device) SetAdapters(seq int, mix []runtime.Term) error {
	if d.ptr == nil {
		return fmt.Errorf("device: %w", runtime.ErrClosed)
	}
	packs, err := d.packs(mix)
	if err != nil {
		return err
	}
	if d.slots == nil || seq < 0 || seq >= len(d.bySeq) {
		return d.setAdapters(seq, packs, mix, nil)
	}
	slots, err := d.slots.take(packs)
	if errors.Is(err, errSlotsInUse) { // the adapters that the sequence has now may make room
		if err := d.setAdapters(seq, nil, nil, nil); err != nil {
			return err
		}
		d.slots.give(d.bySeq[seq])
		d.bySeq[seq] = nil
		if err = d.slots.check(packs); err == nil {
			slots, err = d.slots.take(packs)
		}
	}
	if err != nil {
		return wrapped(err)
	}
	if err := d.setAdapters(seq, packs, mix, slots); err != nil {
		d.slots.give(slots)
		return err
	}
	d.slots.give(d.bySeq[seq])
	d.bySeq[seq] = slots
	return nil
}

// wrapped makes an error of the pool one of package runtime.
func wrapped(err error) error {
	if errors.Is(err, errSlotsInUse) {
		return fmt.Errorf("%w: %w", runtime.ErrAdapter, err)
	}
	return err
}

func (d *Device) setAdapters(seq int, adapters []slotAdapter, mix []runtime.Term, slots []*slot) error {
	packs := make([]*C.ll_pack, len(mix))
	scales := make([]C.float, len(mix))
	from := make([]C.int32_t, len(mix))
	places := make([]C.ll_place, len(mix))
	for i, a := range adapters {
		p := a.(*Packed)
		if !slices.Contains(adapters[:i], a) { // one may be in a mix twice
			p.mu.Lock()
			defer p.mu.Unlock() // none may be closed until its memory is held by the device
		}
		if p.ptr == nil {
			return fmt.Errorf("%w: it is closed", runtime.ErrAdapter)
		}
		packs[i], scales[i], from[i] = p.ptr, C.float(mix[i].Scale), C.int32_t(mix[i].From)
		if slots != nil {
			places[i] = slots[i].place()
		}
	}
	var e C.ll_error
	if C.ll_device_set_adapters(d.ptr, C.int(seq), unsafe.SliceData(packs), unsafe.SliceData(scales), unsafe.SliceData(from), unsafe.SliceData(places), C.int(len(mix)), &e) != C.LL_OK {
		return fmt.Errorf("%w: %w", runtime.ErrAdapter, cError(&e))
	}
	return nil
}

// TryStage implements runtime.Stager.
func (d *Device) TryStage(mix []runtime.Term) (release func(), ok bool) {
	if d.slots == nil {
		return func() {}, true
	}
	packs, err := d.packs(mix)
	if err != nil {
		return nil, false
	}
	slots, ok := d.slots.tryTake(packs)
	if !ok {
		return nil, false
	}
	return sync.OnceFunc(func() { d.slots.give(slots) }), true
}

// Stage implements runtime.Stager.
func (d *Device) Stage(ctx context.Context, mix []runtime.Term) (release func(), err error) {
	if d.slots == nil {
		return func() {}, nil
	}
	packs, err := d.packs(mix)
	if err != nil {
		return nil, err
	}
	if err := d.slots.check(packs); err != nil {
		return nil, err
	}
	slots, err := d.slots.wait(ctx, packs)
	if err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() { d.slots.give(slots) }), nil
}

// SlotStats implements runtime.Stager.
func (d *Device) SlotStats() runtime.SlotStats {
	if d.slots == nil {
		return runtime.SlotStats{}
	}
	return d.slots.snapshot()
}
