package runtimetest

import (
	"errors"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

func open(l runtime.Limits) func(t *testing.T) (runtime.Device, runtime.Model, []runtime.Packed) {
	return func(t *testing.T) (runtime.Device, runtime.Model, []runtime.Packed) {
		m := NewModel()
		d := NewDevice(m, l)
		t.Cleanup(func() {
			if err := d.Fault(); err != nil {
				t.Error(err)
			}
		})
		return d, m, []runtime.Packed{m.PackNamed("one"), m.PackNamed("two")}
	}
}

func TestConformance(t *testing.T) {
	Conformance(t, open(runtime.Limits{Sequences: 4, Cells: 512, Batch: 256, CanTruncate: true}))
}

func TestConformanceWithoutTruncation(t *testing.T) {
	Conformance(t, open(runtime.Limits{Sequences: 4, Cells: 512, Batch: 256}))
}

// The fake sees what breaks the contract.
func TestFaults(t *testing.T) {
	m := NewModel()
	sampler, err := m.NewSampler(runtime.Sampling{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	spent, err := m.NewSampler(runtime.Sampling{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	spent.Close()
	dead := m.PackNamed("dead")
	dead.Close()
	row := func(seq, pos int) []runtime.Row { return []runtime.Row{{Token: 'a', Seq: seq, Pos: pos}} }
	for want, breach := range map[string]func(d *Device) error{
		"position 3":                      func(d *Device) error { _, err := d.Decode(row(0, 3)); return err },
		"sequence 9":                      func(d *Device) error { _, err := d.Decode(row(9, 0)); return err },
		"0 rows":                          func(d *Device) error { _, err := d.Decode(nil); return err },
		"token 999":                       func(d *Device) error { _, err := d.Decode([]runtime.Row{{Token: 999}}); return err },
		"which is not empty":              func(d *Device) error { d.Decode(row(0, 0)); d.Decode(row(1, 0)); return d.Copy(1, 0, 1) },
		"which has 0":                     func(d *Device) error { return d.Copy(1, 0, 1) },
		"a closed or":                     func(d *Device) error { _, err := d.Decode([]runtime.Row{{Sampler: spent}}); return err },
		"SetAdapters of a closed adapter": func(d *Device) error { return d.SetAdapters(0, []runtime.Term{{Packed: dead, Scale: 1}}) },
		"after Close":                     func(d *Device) error { d.Close(); return d.SetAdapters(0, nil) },
		"whose last Decode failed": func(d *Device) error {
			d.Before = func([]runtime.Row) error { return errors.New("broken") }
			d.Decode(row(0, 0))
			d.Before = nil
			_, err := d.Decode(row(0, 0))
			return err
		},
		"another call is under way": func(d *Device) (err error) {
			d.Before = func([]runtime.Row) error { err = d.SetAdapters(0, nil); return nil }
			d.Decode(row(0, 0))
			return err
		},
		"closed while it was placed": func(d *Device) error {
			p := m.PackNamed("live")
			if err := d.SetAdapters(0, []runtime.Term{{Packed: p, Scale: 1}}); err != nil {
				return err
			}
			p.Close()
			_, err := d.Decode(row(0, 0))
			return err
		},
	} {
		d := NewDevice(m, runtime.Limits{Sequences: 2, Cells: 8, Batch: 4, CanTruncate: true})
		if _, err := d.Decode([]runtime.Row{{Token: 'a', Seq: 1, Sampler: sampler}}); err != nil {
			t.Fatal(err)
		}
		d.Truncate(1, 0)
		if err := breach(d); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
		if d.Fault() == nil {
			t.Errorf("%s: no fault is noted", want)
		}
	}
}

// Adapters are checked against the fake base, and the same ones compute the same.
func TestPack(t *testing.T) {
	m := NewModel()
	lora := func(tensor string, in int) *runtime.LoRA {
		return &runtime.LoRA{Modules: []runtime.LoRAModule{{
			Tensor: tensor, Rank: 2, In: in, Out: embedding, Scale: 2, A: make([]float32, 2*in), B: make([]float32, 2*embedding),
		}}}
	}
	p, err := m.Pack(lora("blk.0.attn_q.weight", embedding))
	if err != nil || p.Bytes() != 4*(2*embedding+2*embedding) {
		t.Fatalf("an adapter that fits: %v", err)
	}
	again, err := m.Pack(lora("blk.0.attn_q.weight", embedding))
	if err != nil || again.(*packed).sum != p.(*packed).sum {
		t.Errorf("the same adapter packs to another: %v", err)
	}
	for _, bad := range []*runtime.LoRA{lora("blk.9.attn_q.weight", embedding), lora("blk.0.attn_q.weight", 3)} {
		if _, err := m.Pack(bad); !errors.Is(err, runtime.ErrAdapter) || !strings.Contains(err.Error(), bad.Modules[0].Tensor) {
			t.Errorf("an adapter that does not fit: %v", err)
		}
	}
}
