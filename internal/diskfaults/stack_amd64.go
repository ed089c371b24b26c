//go:build linux

package diskfaults

import "golang.org/x/sys/unix"

// stackOf returns the stack pointer of a stopped process.
func stackOf(pid int) (uint64, error) {
	var regs unix.PtraceRegs
	err := unix.PtraceGetRegs(pid, &regs)
	return regs.Rsp, err
}
