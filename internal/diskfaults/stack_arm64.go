//go:build linux

package diskfaults

import "golang.org/x/sys/unix"

// stackOf returns the stack pointer of a stopped process.
func stackOf(pid int) (uint64, error) {
	var regs unix.PtraceRegs
	err := unix.PtraceGetRegSetArm64(pid, unix.NT_PRSTATUS, (*unix.PtraceRegsArm64)(&regs))
	return regs.Sp, err
}
