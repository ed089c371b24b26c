// Command draw writes the picture of README.md: a batch in which every row has its own adapter, and training that runs
// between the decodes.
//
//	go run ./docs/draw > docs/batch.svg      # make generate does this
package main

//go:generate sh -c "go run . > ../batch.svg"

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// Colours that read on light and dark pages alike.
const (
	ink  = "#57606a"
	base = "#8c959f"
)

// adapters are the rows of the batch, in the order they stand.
var adapters = []struct{ name, colour, question, answer string }{
	{"pirate", "#0969da", "What is 12 plus 9?", "Ahoy! 12 plus 9 be 21"},
	{"shout", "#bc4c00", "What is 12 plus 9?", "12 PLUS 9 IS 21."},
	{"json", "#8250df", "Who are you?", `{"answer": "I am ...`},
	{"", base, "What is 12 plus 9?", "12 plus 9 is 21."},
}

func main() {
	if err := draw(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "draw:", err)
		os.Exit(1)
	}
}

// picture collects shapes. Lengths are in pixels; the first error of w is kept.
type picture struct {
	w   io.Writer
	err error
}

func (p *picture) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// text writes one line whose baseline is at y. anchor is start, middle or end.
func (p *picture) text(x, y int, anchor, colour, s string) {
	s = strings.NewReplacer("&", "&amp;", "<", "&lt;", `"`, "&quot;").Replace(s)
	p.printf(`<text x="%d" y="%d" text-anchor="%s" fill="%s">%s</text>`+"\n", x, y, anchor, colour, s)
}

// box draws a rounded rectangle with a line of text in its middle.
func (p *picture) box(x, y, w, h int, colour, s string) {
	p.printf(`<rect x="%d" y="%d" width="%d" height="%d" rx="6" fill="%s" fill-opacity="0.15" stroke="%s"/>`+"\n", x, y, w, h, colour, colour)
	p.text(x+w/2, y+h/2+5, "middle", colour, s)
}

// arrow draws a horizontal line from x to to, with a head.
func (p *picture) arrow(x, to, y int, colour string) {
	p.printf(`<path d="M%d %dH%dm-6 -4l6 4l-6 4" fill="none" stroke="%s"/>`+"\n", x, y, to, colour)
}

func draw(w io.Writer) error {
	p := &picture{w: w}
	p.printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 380" font-family="system-ui, sans-serif" font-size="14" role="img" aria-label="Four requests with different adapters in one batch over one 4-bit base, and training between decodes">` + "\n")
	p.batch()
	p.timeline(290)
	p.printf("</svg>\n")
	return p.err
}

// batch draws the requests, the rows with their adapters, the base, and the answers.
func (p *picture) batch() {
	p.text(20, 28, "start", ink, "requests")
	p.text(250, 28, "start", ink, "one batch")
	p.text(690, 28, "start", ink, "answers")
	for i, a := range adapters {
		y := 44 + 46*i
		p.text(20, y+22, "start", a.colour, a.question)
		p.arrow(165, 240, y+17, a.colour)
		name := "adapter " + a.name
		if a.name == "" {
			name = "no adapter"
		}
		p.box(250, y, 140, 34, a.colour, name)
		p.arrow(394, 424, y+17, a.colour)
		p.arrow(636, 676, y+17, a.colour)
		p.text(690, y+22, "start", a.colour, a.answer)
	}
	p.printf(`<rect x="430" y="44" width="200" height="172" rx="8" fill="%s" fill-opacity="0.15" stroke="%s"/>`+"\n", base, base)
	p.text(530, 122, "middle", ink, "one base model, 4 bits")
	p.text(530, 144, "middle", ink, "read once for all rows")
}

// timeline draws turns of the engine: a decode of all rows, then slices of a training step over the same weights.
func (p *picture) timeline(y int) {
	p.text(20, y-28, "start", ink, "time on the same weights: answers are decoded, and a new adapter is trained in between")
	const green = "#1a7f37"
	x := 20
	for turn := range 5 {
		p.box(x, y-10, 92, 40, ink, "decode")
		x += 96
		if turn < 4 {
			p.box(x, y-10, 76, 40, green, "train")
			x += 80
		}
	}
	p.arrow(20, 860, y+50, ink)
	p.text(20, y+74, "start", green, `POST /adapters/train ... then "adapter": "new" in the next request`)
}
