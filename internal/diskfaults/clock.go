//go:build linux && (amd64 || arm64)

package diskfaults

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Clock is the clock that tells a process the date. Its methods may be called from any goroutine.
type Clock struct{ ahead atomic.Int64 }

// Jump sets the date that much ahead of the real one, which may be negative. What runs monotonically is not changed.
func (c *Clock) Jump(ahead time.Duration) { c.ahead.Store(int64(ahead)) }

// StartWithClock starts a command whose date Jump changes. Programs read the date in memory that the kernel lends them (the
// vDSO), without a system call: the address of it is taken out of what the kernel tells the process at its start, so that
// Go's runtime and C's library make the call.
func StartWithClock(cmd *exec.Cmd) (*Clock, error) {
	receive, err := wrap(cmd, askClock)
	if err != nil {
		return nil, err
	}
	runtime.LockOSThread() // one thread follows the process
	defer runtime.UnlockOSThread()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Ptrace = true
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := new(Clock)
	failed := make(chan error, 1)
	go func() {
		listener, err := receive()
		if failed <- err; err == nil {
			serve(listener, c.answer)
		}
	}()
	if err := hideDate(cmd.Process.Pid); err != nil {
		return nil, errors.Join(err, cmd.Process.Kill())
	}
	return c, <-failed
}

// hideDate follows the process until it has become the program, and edits what the kernel told it.
func hideDate(pid int) error {
	for executed, sent := 0, 0; ; sent = 0 {
		var status unix.WaitStatus
		if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
			return fmt.Errorf("following the process: %w", err)
		}
		switch {
		case !status.Stopped():
			return fmt.Errorf("the process ended: %v", status)
		case status.StopSignal() != unix.SIGTRAP:
			sent = int(status.StopSignal())
		default:
			if executed++; executed == 2 {
				return errors.Join(editAuxiliary(pid), unix.PtraceDetach(pid))
			}
		}
		if err := unix.PtraceCont(pid, sent); err != nil {
			return fmt.Errorf("following the process: %w", err)
		}
	}
}

// editAuxiliary takes the address of the vDSO out of the vector that lies on a new program's stack, behind its arguments and
// its environment.
func editAuxiliary(pid int) error {
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer memory.Close()
	at, err := stackOf(pid)
	if err != nil {
		return err
	}
	word := make([]byte, 8)
	read := func() (uint64, error) {
		_, err := memory.ReadAt(word, int64(at))
		at += 8
		return binary.NativeEndian.Uint64(word), err
	}
	for zeros, first := 0, true; zeros < 2; first = false { // one ends the arguments, one the environment
		v, err := read()
		if err != nil {
			return err
		}
		if v == 0 && !first {
			zeros++
		}
	}
	const systemHeader, ignored = 33, 1 // AT_SYSINFO_EHDR, AT_IGNORE
	for {
		kind, err := read()
		if err != nil || kind == 0 {
			return errors.Join(err, errors.New("the kernel lends no vDSO"))
		}
		if kind == systemHeader {
			binary.NativeEndian.PutUint64(word, ignored)
			_, err := memory.WriteAt(word, int64(at-8))
			return err
		}
		at += 8
	}
}

// answer tells the date.
func (c *Clock) answer(n *notification) response {
	now := time.Now().Add(time.Duration(c.ahead.Load()))
	date := make([]byte, 16)
	binary.NativeEndian.PutUint64(date, uint64(now.Unix()))
	binary.NativeEndian.PutUint64(date[8:], uint64(now.Nanosecond()))
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", n.pid), os.O_WRONLY, 0)
	if err != nil {
		return response{flags: goOn}
	}
	defer memory.Close()
	if _, err := memory.WriteAt(date, int64(n.args[1])); err != nil {
		return response{flags: goOn}
	}
	return response{}
}

// clockProgram asks about the date alone.
func clockProgram() []unix.SockFilter {
	const (
		load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		end   = unix.BPF_RET | unix.BPF_K
	)
	return []unix.SockFilter{
		{Code: load, K: 0},
		{Code: equal, K: unix.SYS_CLOCK_GETTIME, Jf: 3},
		{Code: load, K: 16},
		{Code: equal, K: unix.CLOCK_REALTIME, Jf: 1},
		{Code: end, K: 0x7fc00000},
		{Code: end, K: 0x7fff0000},
	}
}
