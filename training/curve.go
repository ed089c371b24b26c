package training

import (
	"fmt"
	"math"
	"strings"
)

// The measures of the picture, in pixels.
const (
	svgWidth, svgHeight           = 720, 360
	svgLeft, svgRight             = 56, 16
	svgTop, svgBottom             = 28, 40
	plotWidth, plotHeight float64 = svgWidth - svgLeft - svgRight, svgHeight - svgTop - svgBottom
)

// SVG draws the report's curves: the training loss, its moving average, the validation loss, and the loss of the
// base. The picture has no scripts and no references.
func (r *Report) SVG() string {
	p := newPicture(r)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" font-family="sans-serif" font-size="11">`,
		svgWidth, svgHeight)
	fmt.Fprintf(&b, `<title>Training loss of %s</title><rect width="100%%" height="100%%" fill="#ffffff"/>`, escape(r.Adapter))
	p.axes(&b)
	if r.Base != nil {
		y := p.y(r.Base.Loss)
		fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#888888" stroke-dasharray="4 4"/>`, svgLeft, y, svgWidth-svgRight, y)
	}
	p.line(&b, r.Curve, "#9ecae1", 1)
	p.line(&b, smooth(r.Curve), "#1f77b4", 2)
	p.line(&b, r.Eval, "#d62728", 2)
	for _, e := range r.Eval {
		fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="#d62728"/>`, p.x(e.Step), p.y(e.Loss))
	}
	r.legend(&b)
	b.WriteString("</svg>\n")
	return b.String()
}

// legend names the lines that are there.
func (r *Report) legend(b *strings.Builder) {
	x := svgLeft
	for _, l := range []struct {
		there       bool
		text, color string
	}{
		{len(r.Curve) > 0, "training loss", "#1f77b4"},
		{len(r.Eval) > 0, "validation loss", "#d62728"},
		{r.Base != nil, "base model", "#888888"},
	} {
		if l.there {
			fmt.Fprintf(b, `<rect x="%d" y="10" width="10" height="10" fill="%s"/><text x="%d" y="19">%s</text>`, x, l.color, x+14, l.text)
			x += 120
		}
	}
}

// picture maps steps and losses to pixels.
type picture struct {
	steps  float64
	lo, hi float64
}

func newPicture(r *Report) *picture {
	p := &picture{steps: 1, lo: math.Inf(1), hi: math.Inf(-1)}
	see := func(step int, loss float64) {
		p.steps = max(p.steps, float64(step))
		p.lo, p.hi = min(p.lo, loss), max(p.hi, loss)
	}
	for _, list := range [][]Point{r.Curve, r.Eval} {
		for _, q := range list {
			see(q.Step, q.Loss)
		}
	}
	if r.Base != nil {
		see(0, r.Base.Loss)
	}
	if p.lo > p.hi {
		p.lo, p.hi = 0, 1
	}
	p.lo = min(p.lo, 0)
	if p.hi-p.lo < 1e-9 {
		p.hi = p.lo + 1
	}
	return p
}

func (p *picture) x(step int) float64 { return svgLeft + float64(step)/p.steps*plotWidth }

func (p *picture) y(loss float64) float64 { return svgTop + (p.hi-loss)/(p.hi-p.lo)*plotHeight }

// axes draws the frame and a few round values.
func (p *picture) axes(b *strings.Builder) {
	fmt.Fprintf(b, `<path d="M%d %d V%d H%d" fill="none" stroke="#333333"/>`, svgLeft, svgTop, svgHeight-svgBottom, svgWidth-svgRight)
	for _, v := range ticks(p.lo, p.hi) {
		fmt.Fprintf(b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#eeeeee"/><text x="%d" y="%.1f" text-anchor="end">%.4g</text>`,
			svgLeft, p.y(v), svgWidth-svgRight, p.y(v), svgLeft-6, p.y(v)+4, v)
	}
	for _, v := range ticks(0, p.steps) {
		if v == math.Trunc(v) {
			fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%.0f</text>`, p.x(int(v)), svgHeight-svgBottom+16, v)
		}
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle">step</text>`, svgLeft+int(plotWidth)/2, svgHeight-6)
}

// ticks returns about five round values from lo to hi.
func ticks(lo, hi float64) []float64 {
	unit := math.Pow(10, math.Floor(math.Log10((hi-lo)/5)))
	for _, f := range []float64{1, 2, 5, 10} {
		if (hi-lo)/(unit*f) <= 6 {
			unit *= f
			break
		}
	}
	var list []float64
	for n := math.Ceil(lo / unit); n*unit <= hi && len(list) < 20; n++ {
		list = append(list, n*unit)
	}
	return list
}

func (p *picture) line(b *strings.Builder, list []Point, color string, width int) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="%d" points="`, color, width)
	for _, q := range list {
		fmt.Fprintf(b, "%.1f,%.1f ", p.x(q.Step), p.y(q.Loss))
	}
	b.WriteString(`"/>`)
}

// smooth is the moving average of a curve, over about a twentieth of it.
func smooth(list []Point) []Point {
	keep := 1 - 1/max(1, float64(len(list))/20)
	out := make([]Point, len(list))
	sum, weight := 0.0, 0.0
	for i, p := range list {
		sum, weight = keep*sum+p.Loss, keep*weight+1
		out[i] = Point{p.Step, sum / weight}
	}
	return out
}

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(s)
}
