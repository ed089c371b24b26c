//go:build cgo && linux

package llama

// The Go functions that C calls. They have a file of their own because one with //export may not define C functions.

// #include <stdint.h>
import "C"

import (
	"log/slog"
	"runtime/cgo"
	"sync/atomic"
)

// callback is a log function that C reaches by its handle. Everything that may log holds it; the handle is
// deleted when the last holder has released it.
type callback struct {
	h       cgo.Handle // 0: there is none
	holders atomic.Int64
}

func newCallback(log func(slog.Level, string)) *callback {
	c := &callback{}
	c.holders.Store(1)
	if log != nil {
		c.h = cgo.NewHandle(log)
	}
	return c
}

func (c *callback) handle() C.uintptr_t { return C.uintptr_t(c.h) }

func (c *callback) hold() *callback {
	c.holders.Add(1)
	return c
}

func (c *callback) release() {
	if c.holders.Add(-1) == 0 && c.h != 0 {
		c.h.Delete()
	}
}

//export lorikeetLog
func lorikeetLog(handle C.uintptr_t, level C.int, text *C.char) {
	// ggml's levels: 1 debug, 2 info, 3 warning, 4 error.
	levels := [...]slog.Level{slog.LevelDebug, slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}
	l := slog.LevelDebug
	if level >= 0 && int(level) < len(levels) {
		l = levels[level]
	}
	cgo.Handle(handle).Value().(func(slog.Level, string))(l, C.GoString(text))
}

//export lorikeetProgress
func lorikeetProgress(handle C.uintptr_t, done C.double) {
	cgo.Handle(handle).Value().(func(float64))(float64(done))
}
