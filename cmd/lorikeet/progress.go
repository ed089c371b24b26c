package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// lineEvery is how often a command says how far it is where its output is no terminal.
const lineEvery = 5 * time.Second

// isTerminal reports whether w is a terminal, on which a line can be drawn anew.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// progress shows how far work is: as a bar on a terminal, elsewhere as a whole line every few seconds and at the end. Its
// methods may be called from any goroutine.
type progress struct {
	w    io.Writer
	what string
	bar  *progressbar.ProgressBar // on a terminal

	mu   sync.Mutex
	told time.Time // elsewhere: when the last line was written
	full bool      // elsewhere: the last line said 100%
}

// barSteps is how finely a bar is drawn.
const barSteps = 1000

// newProgress shows on w how far what is.
func newProgress(w io.Writer, what string) *progress {
	p := &progress{w: w, what: what, told: time.Now()}
	if isTerminal(w) {
		p.bar = progressbar.NewOptions(barSteps,
			progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what), progressbar.OptionSetWidth(40),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetPredictTime(true))
	}
	return p
}

// set says how far the work is, from 0 to 1. What cannot be shown must not stop the work.
func (p *progress) set(part float64) {
	if p.bar != nil {
		_ = p.bar.Set(int(part * barSteps))
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.full || part < 1 && time.Since(p.told) < lineEvery {
		return
	}
	p.told, p.full = time.Now(), part >= 1
	fmt.Fprintf(p.w, "%s: %.0f%%\n", p.what, 100*min(part, 1))
}

// of is set for done of total.
func (p *progress) of(done, total int64) { p.set(float64(done) / float64(max(total, 1))) }

// end leaves the bar on the screen, in a line of its own.
func (p *progress) end() {
	if p.bar != nil {
		fmt.Fprintln(p.w)
	}
}
