//go:build cgo && linux

package llama

import (
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama/devicetest"
)

// Adapters are copied into slots by another goroutine while sequences decode: their answers keep every bit. A device with a queue
// for copies does them meanwhile; on others, and on the CPU, decodes and copies take turns.
func TestUploadsBesideDecodes(t *testing.T) {
	for name, standsFor := range map[string]devicetest.Backend{"CUDA": devicetest.CUDA, "Vulkan": devicetest.Vulkan} {
		t.Run(name, func(t *testing.T) {
			devicetest.Register(t, standsFor)
			m := openModel(t, deviceOptions(t, Options{Path: tiny.file(t)}))
			uploadBesideDecodes(t, m, smallSlots(t, m, 32))
		})
	}
	t.Run("CPU", func(t *testing.T) {
		m := openModel(t, Options{Path: tiny.file(t), KeepPlain: true})
		uploadBesideDecodes(t, m, openDevice(t, m, DeviceOptions{Sequences: 4, Cells: 256, Threads: 1, LoRA: MMID, SlotBytes: 64 * bytesPerRank(m)}))
	})
}

// Where a device has a queue for copies, as CUDA has, an adapter is copied through one of its own: what decodes is not waited for,
// by the copy or for it, and the decode that has the adapter transfers no more than others do.
func TestPlacingWaitsForNoDecode(t *testing.T) {
	devicetest.Register(t, devicetest.CUDA)
	m := openModel(t, deviceOptions(t, Options{Path: tiny.file(t)}))
	d := openDevice(t, m, DeviceOptions{Sequences: 2, Cells: 256, Threads: 1})
	one, two := pack(t, m, newAdapter(t, m, 1, 8, 8, isLinear).lora), pack(t, m, newAdapter(t, m, 2, 8, 8, isLinear).lora)
	sampler, pos := greedy(t, m), 0
	step := func() devicetest.Transfers {
		t.Helper()
		devicetest.TakeTransfers()
		if _, err := d.Decode([]runtime.Row{{Token: 7, Seq: 0, Pos: pos, Sampler: sampler, Top: -1}, {Token: 9, Seq: 1, Pos: pos, Sampler: sampler, Top: -1}}); err != nil {
			t.Fatal(err)
		}
		pos++
		return devicetest.TakeTransfers()
	}
	set(t, d, 0, one)
	set(t, d, 1, one)
	step()
	before := step()
	if before.Waits == 0 || before.Async+before.Copies == 0 {
		t.Fatalf("a decode transfers %+v", before)
	}
	devicetest.TakeTransfers()
	release, err := d.Stage(t.Context(), []runtime.Term{{Packed: two, Scale: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	staged := devicetest.TakeTransfers()
	if want := int64(2 * 7 * tiny.layers); staged != (devicetest.Transfers{Async: want}) {
		t.Errorf("placing transfers %+v, want %d copies through a queue, A and B of every layer, and nothing else", staged, want)
	}
	set(t, d, 1, two)
	if got := devicetest.TakeTransfers(); got != (devicetest.Transfers{}) {
		t.Errorf("an adapter that is there is given to a sequence with %+v", got)
	}
	if got := step(); got != before {
		t.Errorf("the next decode transfers %+v, the one before %+v", got, before)
	}
}

func uploadBesideDecodes(t *testing.T, m *Model, d *Device) {
	set(t, d, 0, pack(t, m, newAdapter(t, m, 1, 8, 8, isLinear).lora))
	set(t, d, 1, pack(t, m, newAdapter(t, m, 2, 4, 8, isLinear).lora))
	sampler := greedy(t, m)
	run := func(until func(step int) bool) [][]float32 {
		t.Helper()
		var out [][]float32
		for _, seq := range []int{0, 1} {
			if _, err := d.Truncate(seq, 0); err != nil {
				t.Fatal(err)
			}
		}
		for pos := 0; pos < 40 && !until(pos); pos++ {
			if _, err := d.Decode([]runtime.Row{{Token: 7, Seq: 0, Pos: pos, Sampler: sampler, Top: -1}, {Token: 9, Seq: 1, Pos: pos, Sampler: sampler, Top: -1}}); err != nil {
				t.Fatal(err)
			}
			for row := range 2 {
				l, err := d.Logits(row)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, l)
			}
		}
		return out
	}
	want := run(func(step int) bool { return step == 40 })
	var more []runtime.Packed
	for k := range 12 {
		more = append(more, pack(t, m, newAdapter(t, m, uint64(10+k), 8, 8, isLinear).lora))
	}
	done := make(chan error, 1)
	go func() {
		for range 4 {
			for _, p := range more {
				release, err := d.Stage(t.Context(), []runtime.Term{{Packed: p, Scale: 1}})
				if err != nil {
					done <- err
					return
				}
				release()
			}
		}
		done <- nil
	}()
	got := run(func(int) bool { return false })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if !slices.Equal(got[i], want[i]) {
			t.Fatalf("row %d of step %d has other logits", i%2, i/2)
		}
	}
	if s := d.SlotStats(); s.Uploads < 40 {
		t.Errorf("%d uploads: %+v", s.Uploads, s)
	}
}
