package parquet

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Limits bound what is read of a file.
type Limits struct {
	Rows     int
	RowBytes int // of one row as JSON
}

// FileError is what is wrong with a file. Its reason continues "the training data".
type FileError struct{ Reason string }

// Error returns the reason.
func (e *FileError) Error() string { return e.Reason }

// What the child may take.
const (
	childMemory = 1 << 30 // bytes of address space, besides what the program itself has
	childCPU    = 300     // seconds
	closeWait   = 5 * time.Second
)

// childName is the program's name, its first argument, in the child: this package's init function then takes over, before main. So
// every program that has this package can start the child, tests too.
const childName = "lorikeet-read-parquet"

func init() {
	if len(os.Args) == 3 && os.Args[0] == childName {
		os.Exit(child(os.Args[1], os.Args[2]))
	}
}

// Read writes the rows of a file to w, each as a JSON object on a line. The error is a FileError, w's or ctx's, or one of
// starting the child.
func Read(ctx context.Context, file *os.File, l Limits, w io.Writer) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &stopping{w: w, stop: cancel}
	var report bytes.Buffer
	cmd := exec.CommandContext(ctx, program)
	cmd.Args = []string{childName, strconv.Itoa(l.Rows), strconv.Itoa(l.RowBytes)}
	cmd.Env = []string{"GOMAXPROCS=1", "GOMEMLIMIT=" + strconv.Itoa(childMemory/2)}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = file, out, &tail{b: &report}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = closeWait
	err = cmd.Run()
	exit := new(exec.ExitError)
	switch {
	case out.err != nil:
		return out.err
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		return nil
	case !errors.As(err, &exit):
		return fmt.Errorf("a process that reads a Parquet file: %w", err)
	}
	var fault struct{ Reason string }
	if exit.ExitCode() == faultCode && json.Unmarshal(report.Bytes(), &fault) == nil {
		return &FileError{fault.Reason}
	}
	return &FileError{"cannot be read: as a Parquet file it asks for more memory or time than there is for it"}
}

// stopping is a Writer that keeps its first error and ends the child then.
type stopping struct {
	w    io.Writer
	stop func()
	err  error
}

func (s *stopping) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err != nil && s.err == nil {
		s.err = err
		s.stop()
	}
	return n, err
}

// tail keeps the beginning of what a child reports: the Go runtime may print the stacks of many goroutines.
type tail struct{ b *bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	const most = 64 << 10
	if room := most - t.b.Len(); room > 0 {
		t.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// faultCode is the child's exit code where it has said what is wrong with the file.
const faultCode = 65

// child reads the file that is the standard input, and returns the exit code.
func child(rows, rowBytes string) int {
	var l Limits
	var err error
	if l.Rows, err = strconv.Atoi(rows); err == nil {
		l.RowBytes, err = strconv.Atoi(rowBytes)
	}
	if err == nil {
		err = limit()
	}
	if err == nil {
		out := bufio.NewWriterSize(os.Stdout, 64<<10)
		if err = convert(os.Stdin, l, out); err == nil {
			err = out.Flush()
		}
	}
	if err == nil {
		return 0
	}
	reason := strings.ToValidUTF8(err.Error(), "?")
	if fault := new(FileError); !errors.As(err, &fault) {
		reason = "cannot be read as a Parquet file: " + reason
	}
	_ = json.NewEncoder(os.Stderr).Encode(struct{ Reason string }{reason[:min(len(reason), 500)]}) // there is no other way to report it
	return faultCode
}

// limit bounds the memory and the time of this process.
func limit() error {
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	pages := 0
	if _, err := fmt.Sscan(string(raw), &pages); err != nil {
		return err
	}
	memory := uint64(pages)*uint64(os.Getpagesize()) + childMemory
	if err := syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: memory, Max: memory}); err != nil {
		return err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_CPU, &syscall.Rlimit{Cur: childCPU, Max: childCPU}); err != nil {
		return err
	}
	return syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
}
