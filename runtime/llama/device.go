//go:build cgo && linux

package llama

// #include "c_api.h"
import "C"

import (
	"cmp"
	"errors"
	"fmt"
	goruntime "runtime"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// poll is how long idle compute threads spin before they sleep, in ggml's units of 128 Ki pauses.
const poll = 0

// Device is one context of llama.cpp. It implements runtime.Device; its methods are called from one
// goroutine at a time. Several devices may stand on one model and run at once.
type Device struct {
	model  *Model
	limits runtime.Limits
	ptr    *C.ll_device
	rows   []C.ll_row // in C memory, Limits.Batch of them
	log    *callback

	results C.ll_results // of the last Decode
	failure C.ll_error

	masks   []uint64      // of constraints, used by one Decode at a time; empty for none
	held    []constrained // the rows that have a mask, in the order of the masks
	failed  map[int]error // why choices of the last Decode have no token
	slots   *slotPool     // nil: no adapters lie in slots
	bySeq   [][]*slot     // that each sequence uses
	choices []runtime.Choice
	tops    []runtime.TokenLogprob
	hidden  []float32
}

var _ runtime.Device = (*Device)(nil)

var errNoToken = errors.New("no token is possible: the grammar, the logit bias or the logits admit none")

// noToken returns the Err of a choice that could not be made.
func noToken(c *C.ll_choice) error {
	switch c.token {
	case C.LL_LOGITS_NOT_FINITE:
		return runtime.ErrLogits
	case C.LL_GRAMMAR_COST:
		return fmt.Errorf("%w: %s", runtime.ErrGrammarCost, C.GoString(&c.error[0]))
	case C.LL_SAMPLER_NO_MEMORY:
		return memoryError(C.GoString(&c.error[0]))
	case C.LL_SAMPLER_FAILED:
		return fmt.Errorf("%w: %s", runtime.ErrSampler, C.GoString(&c.error[0]))
	}
	return errNoToken
}

// NewDevice makes a device on a model. The error wraps ErrDevice.
func NewDevice(m *Model, o DeviceOptions) (*Device, error) {
	ptr, release, err := m.acquire()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDevice, err)
	}
	defer release()
	o = o.withDefaults()
	if err := o.check(m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDevice, err)
	}
	w := C.ll_device_options{
		sequences: C.int32_t(o.Sequences),
		cells:     C.int32_t(o.Cells),
		batch:     C.int32_t(o.Batch),
		ubatch:    C.int32_t(o.UBatch),
		threads:   C.int32_t(o.Threads),
		poll:      poll,
		kv_type:   map[KVType]C.int32_t{KVF16: C.LL_KV_F16, KVF32: C.LL_KV_F32, KVQ8: C.LL_KV_Q8_0}[o.KV],
		flash:     map[FlashAttention]C.int32_t{FlashAuto: C.LL_FLASH_AUTO, FlashOn: C.LL_FLASH_ON, FlashOff: C.LL_FLASH_OFF}[o.FlashAttention],
		split_kv:  flag(o.SplitKV),

		full_logits: flag(o.fullLogits),
	}
	rankBytes := o.chooseSlots(m, ptr, &w)
	if rankBytes > 0 && w.slot_ranks == 0 {
		return nil, fmt.Errorf("%w: the memory for adapters has %d bytes (--adapter-memory), and the smallest takes %d", ErrDevice, o.SlotBytes, slotBlock*rankBytes)
	}
	var e C.ll_error
	d := &Device{model: m, log: m.log.hold()}
	if d.ptr = C.ll_device_new(ptr, &w, &e); d.ptr == nil {
		d.log.release()
		return nil, fmt.Errorf("%w: %w", ErrDevice, cError(&e))
	}
	var cells, batch, canTruncate C.int32_t
	C.ll_device_limits(d.ptr, &cells, &batch, &canTruncate)
	d.limits = runtime.Limits{Sequences: o.Sequences, Cells: int(cells), Batch: int(batch), CanTruncate: canTruncate != 0, Exact: C.ll_model_on_device(ptr) == 0}
	if o.SplitKV { // only whole sequences are copied, as where nothing can be truncated
		d.limits.PerSequence, d.limits.CanTruncate = int(cells)/o.Sequences, false
	}
	d.rows = unsafe.Slice(C.ll_device_rows(d.ptr), int(batch))
	if w.slot_ranks > 0 {
		d.slots = newSlotPool(int(w.slot_ranks), rankBytes, func(a slotAdapter) slotNeed { return a.(*Packed).slotNeed(w.all_slots != 0) }, d.upload)
		d.bySeq = make([][]*slot, o.Sequences)
	}
	return d, nil
}

func (o DeviceOptions) withDefaults() DeviceOptions {
	o.Sequences = cmp.Or(o.Sequences, 16)
	o.Cells = cmp.Or(o.Cells, 4096)
	o.Batch = cmp.Or(o.Batch, 512)
	o.UBatch = cmp.Or(o.UBatch, 512)
	o.Threads = cmp.Or(o.Threads, goruntime.NumCPU())
	return o
}

func (o DeviceOptions) check(m *Model) error {
	for _, size := range []struct {
		field       string
		value, most int
	}{
		{"Sequences", o.Sequences, 256}, {"Cells", o.Cells, 1 << 28}, {"Batch", o.Batch, 1 << 20},
		{"UBatch", o.UBatch, 1 << 20}, {"Threads", o.Threads, 512},
	} {
		if size.value < 1 || size.value > size.most {
			return fmt.Errorf("%s is %d, not between 1 and %d", size.field, size.value, size.most)
		}
	}
	if o.LoRA == MMID && !m.keepPlain {
		return errors.New("LoRA is MMID, but the model was loaded without KeepPlain")
	}
	if o.KV == KVQ8 && o.FlashAttention == FlashOff {
		return errors.New("a KV cache of type q8_0 (--kv-type) needs flash attention (--flash-attn on or auto): llama.cpp cannot read quantized values without it")
	}
	return nil
}

// Logits returns a copy of the logits of a row of the last Decode, which must have had a sampler. It is for
// measurements.
func (d *Device) Logits(row int) ([]float32, error) {
	var n C.int32_t
	p := C.ll_device_logits(d.ptr, C.int(row), &n)
	if p == nil {
		return nil, fmt.Errorf("row %d has no logits", row)
	}
	return append([]float32(nil), unsafe.Slice((*float32)(p), int(n))...), nil
}

// logitsCopied is how many rows of logits were copied one by one from a device's memory.
func (d *Device) logitsCopied() int { return int(C.ll_device_logits_copied(d.ptr)) }

// graphBuilds is how many graphs llama.cpp has built for the device, reservations included.
func (d *Device) graphBuilds() int { return int(C.ll_device_graph_builds(d.ptr)) }

// Limits implements runtime.Device.
func (d *Device) Limits() runtime.Limits { return d.limits }

// Copy implements runtime.Device.
func (d *Device) Copy(dst, src, n int) error {
	if d.ptr == nil {
		return fmt.Errorf("device: %w", runtime.ErrClosed)
	}
	var e C.ll_error
	if C.ll_device_copy(d.ptr, C.int(dst), C.int(src), C.int(n), &e) != C.LL_OK {
		return fmt.Errorf("%w: %w", runtime.ErrDecode, cError(&e))
	}
	return nil
}

// Truncate implements runtime.Device.
func (d *Device) Truncate(seq, from int) (int, error) {
	if d.ptr == nil {
		return 0, fmt.Errorf("device: %w", runtime.ErrClosed)
	}
	var e C.ll_error
	var kept C.int32_t
	if C.ll_device_truncate(d.ptr, C.int(seq), C.int(from), &kept, &e) != C.LL_OK {
		return 0, fmt.Errorf("%w: %w", runtime.ErrDecode, cError(&e))
	}
	return int(kept), nil
}

// Decode implements runtime.Device.
func (d *Device) Decode(rows []runtime.Row) ([]runtime.Choice, error) {
	if d.ptr == nil {
		return nil, fmt.Errorf("device: %w", runtime.ErrClosed)
	}
	if len(rows) > len(d.rows) {
		return nil, fmt.Errorf("%w: %d rows, the device takes %d", runtime.ErrDecode, len(rows), len(d.rows))
	}
	for i, r := range rows {
		w := C.ll_row{token: C.int32_t(r.Token), seq: C.int32_t(r.Seq), pos: C.int32_t(r.Pos), top: C.int32_t(r.Top), next: C.int32_t(r.Next),
			scored: flag(r.Scored), hidden: flag(r.Hidden), mask: -1, exact: flag(r.Exact)}
		if r.Sampler != nil {
			s, ok := r.Sampler.(*Sampler)
			if !ok || s.ptr == nil {
				return nil, fmt.Errorf("%w: row %d: the sampler is closed or not this model's", runtime.ErrDecode, i)
			}
			w.sampler = s.ptr
		}
		d.rows[i] = w
	}
	masks, words := d.findMasks(rows)
	switch C.ll_device_decode(d.ptr, C.int(len(rows)), masks, words, &d.results, &d.failure) {
	case C.LL_OK:
		if err := d.constrain(rows); err != nil {
			return nil, err
		}
		choices := d.collect()
		for i, err := range d.failed {
			choices[i].Token, choices[i].Err = d.model.facts.EOS, err
		}
		return choices, nil
	case C.LL_NO_CELLS:
		return nil, runtime.ErrNoRoom
	default:
		return nil, fmt.Errorf("%w: %w", runtime.ErrDecode, cError(&d.failure))
	}
}

// collect turns the results of the last decode into Go's types. The slices are reused by the next Decode.
func (d *Device) collect() []runtime.Choice {
	d.choices, d.tops = d.choices[:0], d.tops[:0]
	choices := unsafe.Slice(d.results.choices, int(d.results.n_choices))
	for _, a := range unsafe.Slice(d.results.alternatives, int(d.results.n_alternatives)) {
		d.tops = append(d.tops, runtime.TokenLogprob{Token: runtime.Token(a.token), Logprob: float32(a.logprob)})
	}
	width := int(d.results.width)
	d.hidden = append(d.hidden[:0], unsafe.Slice((*float32)(d.results.hidden), int(d.results.n_hidden)*width)...)
	for i := range choices {
		c := &choices[i]
		choice := runtime.Choice{Token: runtime.Token(c.token), Logprob: float32(c.logprob)}
		if c.n_top > 0 {
			choice.Top = d.tops[c.first : c.first+c.n_top : c.first+c.n_top]
		}
		if c.hidden >= 0 {
			choice.Hidden = d.hidden[int(c.hidden)*width : int(c.hidden+1)*width : int(c.hidden+1)*width]
		}
		if c.token < 0 {
			choice.Token, choice.Err = d.model.facts.EOS, noToken(c)
		}
		d.choices = append(d.choices, choice)
	}
	return d.choices
}

// Close implements runtime.Device. It may be called twice, and on nil.
func (d *Device) Close() error {
	if d != nil && d.ptr != nil {
		C.ll_device_free(d.ptr)
		d.ptr, d.rows = nil, nil
		d.log.release()
	}
	return nil
}
