//go:build cgo && linux

package llama

import (
	goruntime "runtime"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// A decode is one call from Go to C, whatever is drawn in it, and the bytes of its tokens cost none. None of it allocates
// in Go once its slices have grown.
func TestOneCrossingPerDecode(t *testing.T) {
	m := openDemo(t)
	d := openDevice(t, m, DeviceOptions{Sequences: 2, Cells: 1024, Batch: 64, Threads: 1})
	rows := append(rowsOf(t, m, 0, 0, []runtime.Token{5, 6, 7}), rowsOf(t, m, 1, 0, []runtime.Token{8, 9})...)
	rows[2].Top, rows[4].Top = 4, 0
	last := []runtime.Row{rows[2], rows[4]}
	step := func() {
		choices, err := d.Decode(last)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range choices {
			if c.Err != nil {
				t.Fatal(c.Err)
			}
			_ = m.Piece(c.Token, false)
			for _, a := range c.Top {
				_ = m.Piece(a.Token, true)
			}
			last[i].Token, last[i].Pos = c.Token, last[i].Pos+1
		}
	}
	if _, err := d.Decode(rows); err != nil {
		t.Fatal(err)
	}
	last[0].Pos, last[1].Pos = 3, 2
	step()
	const steps = 20
	before := goruntime.NumCgoCall()
	for range steps {
		step()
	}
	if calls := goruntime.NumCgoCall() - before; calls != steps {
		t.Errorf("%d decodes made %d calls of C", steps, calls)
	}
	if n := testing.AllocsPerRun(steps, step); n != 0 {
		t.Errorf("a decode allocates %g times", n)
	}
}
