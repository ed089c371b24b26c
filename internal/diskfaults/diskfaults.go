//go:build linux && (amd64 || arm64)

// Package diskfaults makes the writes of another process fail: with ENOSPC, with EIO, at the n-th write or from it on.
// It is for tests. The process is an ordinary program that knows nothing of it: the kernel asks this one before each
// system call that writes, syncs, makes or renames a file (seccomp's user notification), whether Go's runtime or C made
// the call, and those on files in the chosen folders are counted and may be answered with an error.
//
// It also sets the clock of such a process, in the same way: see WrapClock.
package diskfaults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// launcherVariable tells a process that it is to install the filter and become the program of its arguments.
const launcherVariable = "LORIKEET_TEST_DISKFAULTS"

// What is asked about, as the variable's value.
const (
	askFiles = "files"
	askClock = "clock"
)

func init() {
	if os.Getenv(launcherVariable) != "" {
		runtime.LockOSThread() // to the process's first thread, which is the one that WrapClock follows
	}
}

// Launch must be called first by TestMain: where the process was started by Wrap it becomes the program, and Launch does
// not return.
func Launch() {
	asked := os.Getenv(launcherVariable)
	if asked == "" {
		return
	}
	os.Unsetenv(launcherVariable)
	fmt.Fprintln(os.Stderr, "diskfaults:", become(asked, os.Args[1:]))
	os.Exit(111)
}

// become installs the filter, sends its descriptor to the parent, and executes args. It returns where that fails.
func become(asked string, args []string) error { // the filter is the thread's, and exec keeps the thread that called it
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	filter := program()
	if asked == askClock {
		filter = clockProgram()
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	const newListener, waitKillable = 1 << 3, 1 << 5 // Go's own signals must not repeat a call that was counted
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, 1, newListener|waitKillable, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	if err := unix.Sendmsg(3, []byte{0}, unix.UnixRights(int(fd)), nil, 0); err != nil {
		return fmt.Errorf("sending the descriptor: %w", err)
	}
	unix.Close(3)
	unix.Close(int(fd))
	return syscall.Exec(args[0], args, os.Environ())
}

// Rule says which calls fail.
type Rule struct {
	At    int           // the number of the first call that fails, from 1; 0: none
	Stays bool          // all that follow it fail, too, as on a disk that stays full
	Errno syscall.Errno // ENOSPC does not fail calls that need no room: opening a file that is there, making one shorter
}

// Faults are those of one process. Its methods may be called from any goroutine.
type Faults struct {
	folders []string

	mu    sync.Mutex
	rule  Rule
	calls []string // since Set
	hits  []string // the calls that failed
}

// Wrap changes a command that has not been started, so that the calls on files under the folders, which are absolute, can
// fail: from the start by a rule. After Start the caller calls the returned function, which returns the faults; they end
// with the process.
func Wrap(cmd *exec.Cmd, r Rule, folders ...string) (started func() (*Faults, error), err error) {
	receive, err := wrap(cmd, askFiles)
	if err != nil {
		return nil, err
	}
	return func() (*Faults, error) {
		listener, err := receive()
		if err != nil {
			return nil, err
		}
		f := &Faults{folders: folders, rule: r}
		go serve(listener, f.answer)
		return f, nil
	}, nil
}

// wrap has the command run through this program. receive returns the kernel's descriptor after the start.
func wrap(cmd *exec.Cmd, asked string) (receive func() (listener int, err error), err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	theirs := os.NewFile(uintptr(pair[1]), "theirs")
	cmd.Args = append([]string{self, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = self
	cmd.Env = append(cmd.Env, launcherVariable+"="+asked)
	cmd.ExtraFiles = []*os.File{theirs}
	return func() (int, error) {
		theirs.Close()
		defer unix.Close(pair[0])
		b, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
		_, n, _, _, err := unix.Recvmsg(pair[0], b, rights, unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			return 0, err
		}
		messages, err := unix.ParseSocketControlMessage(rights[:n])
		if err == nil && len(messages) == 0 {
			err = errors.New("the kernel offers no seccomp notification")
		}
		if err != nil {
			return 0, err
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil {
			return 0, err
		}
		return fds[0], nil
	}, nil
}

// Set replaces the rule, and counts from the beginning.
func (f *Faults) Set(r Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rule, f.calls, f.hits = r, nil, nil
}

// Calls are the calls since Set, and those of them that failed: the call's name and the path.
func (f *Faults) Calls() (all, failed []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls, f.hits
}

// decide counts a call and returns what it is to be answered with, 0 where it may go on.
func (f *Faults) decide(call, path string, needsRoom bool) syscall.Errno {
	inside := false
	for _, folder := range f.folders {
		rest, ok := strings.CutPrefix(path, folder)
		inside = inside || ok && (rest == "" || rest[0] == '/')
	}
	if !inside {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !needsRoom && f.rule.Errno != syscall.EIO {
		return 0
	}
	f.calls = append(f.calls, call+" "+path)
	n := len(f.calls)
	if f.rule.At == 0 || n < f.rule.At || n > f.rule.At && !f.rule.Stays {
		return 0
	}
	f.hits = append(f.hits, call+" "+path)
	return f.rule.Errno
}

// notification and response are the kernel's struct seccomp_notif and seccomp_notif_resp.
type notification struct {
	id         uint64
	pid, flags uint32
	nr, arch   uint32
	ip         uint64
	args       [6]uint64
}

type response struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

// goOn lets the call be made.
const goOn = 1

// answer lets a call fail or be made.
func (f *Faults) answer(n *notification) response {
	if call, path, needsRoom := n.describe(); path != "" {
		if errno := f.decide(call, path, needsRoom); errno != 0 {
			return response{errno: -int32(errno)}
		}
	}
	return response{flags: goOn}
}

// serve answers the kernel until the process has ended.
func serve(listener int, answer func(*notification) response) {
	defer unix.Close(listener)
	const receive, send = 0xc0502100, 0xc0182101
	for {
		polled := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(polled, -1); err != nil {
			continue // a signal
		}
		if polled[0].Revents&unix.POLLIN == 0 {
			return
		}
		var n notification
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), receive, uintptr(unsafe.Pointer(&n))); errno != 0 {
			continue // the thread went away meanwhile
		}
		r := answer(&n)
		r.id = n.id
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), send, uintptr(unsafe.Pointer(&r))) // it may have gone
	}
}

// describe returns the call's name, the path that it writes to, "" where it is no file, and whether that needs room.
func (n *notification) describe() (call, path string, needsRoom bool) {
	w, ok := watched[int(n.nr)]
	if !ok {
		return "", "", false
	}
	switch w.by {
	case byDescriptor:
		path, _ = os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", n.pid, int32(n.args[w.arg]))) // "" where it is closed
		return w.name, path, w.name != "ftruncate"
	default:
		path = n.text(n.args[w.arg])
		if !filepath.IsAbs(path) && path != "" {
			dir := "cwd"
			if w.by == byPathAt && int32(n.args[w.arg-1]) != unix.AT_FDCWD {
				dir = fmt.Sprintf("fd/%d", int32(n.args[w.arg-1]))
			}
			base, _ := os.Readlink(fmt.Sprintf("/proc/%d/%s", n.pid, dir))
			path = filepath.Join(base, path)
		}
		needsRoom = true
		if w.flags != 0 {
			_, err := os.Lstat(path)
			needsRoom = err != nil
		}
		return w.name, path, needsRoom
	}
}

// text reads a C string of the process.
func (n *notification) text(at uint64) string {
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", n.pid))
	if err != nil {
		return ""
	}
	defer memory.Close()
	buf := make([]byte, unix.PathMax)
	got, _ := memory.ReadAt(buf, int64(at)) // less where the next page is not there
	text, _, _ := strings.Cut(string(buf[:got]), "\x00")
	return text
}
