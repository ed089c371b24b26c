//go:build cgo && linux

package llama

import (
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

func TestSmoke(t *testing.T) {
	m := openModel(t, Options{Path: demoFile(t)})
	t.Logf("%+v", m.Facts())
	t.Log(SystemInfo())
	d := openDevice(t, m, DeviceOptions{})
	toks, err := m.Tokenize("<|im_start|>user\nWhat colour is the sky?<|im_end|>\n<|im_start|>assistant\n", true, true)
	t.Log(toks, err)
	s := greedy(t, m)
	var rows []runtime.Row
	for i, k := range toks {
		rows = append(rows, runtime.Row{Token: k, Pos: i})
	}
	rows[len(rows)-1].Sampler = s
	rows[len(rows)-1].Top = 2
	var text []byte
	pos := len(toks)
	for range 40 {
		c, err := d.Decode(rows)
		if err != nil {
			t.Fatal(err)
		}
		if m.EndOfGeneration(c[0].Token) {
			break
		}
		text = append(text, m.Piece(c[0].Token, false)...)
		rows = []runtime.Row{{Token: c[0].Token, Pos: pos, Sampler: s, Top: 2}}
		pos++
	}
	t.Logf("%s", text)
}
