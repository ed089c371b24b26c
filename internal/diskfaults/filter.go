//go:build linux && (amd64 || arm64)

package diskfaults

import (
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// How a system call names the file that it writes.
const (
	byDescriptor = iota
	byPath
	byPathAt // a path, and before it a folder's descriptor
)

// watchedCall is a system call that the kernel asks about.
type watchedCall struct {
	name  string
	by    int
	arg   int // the argument that names the file
	flags int // the argument with open's flags; the call counts where they have O_CREAT
}

var watched = map[int]watchedCall{
	unix.SYS_WRITE:           {"write", byDescriptor, 0, 0},
	unix.SYS_PWRITE64:        {"pwrite", byDescriptor, 0, 0},
	unix.SYS_WRITEV:          {"writev", byDescriptor, 0, 0},
	unix.SYS_PWRITEV:         {"pwritev", byDescriptor, 0, 0},
	unix.SYS_SENDFILE:        {"sendfile", byDescriptor, 0, 0},
	unix.SYS_COPY_FILE_RANGE: {"copy_file_range", byDescriptor, 2, 0},
	unix.SYS_SPLICE:          {"splice", byDescriptor, 2, 0},
	unix.SYS_FSYNC:           {"fsync", byDescriptor, 0, 0},
	unix.SYS_FDATASYNC:       {"fdatasync", byDescriptor, 0, 0},
	unix.SYS_FTRUNCATE:       {"ftruncate", byDescriptor, 0, 0},
	unix.SYS_FALLOCATE:       {"fallocate", byDescriptor, 0, 0},
	unix.SYS_OPENAT:          {"create", byPathAt, 1, 2},
	unix.SYS_MKDIRAT:         {"mkdir", byPathAt, 1, 0},
	unix.SYS_LINKAT:          {"link", byPathAt, 3, 0},
	unix.SYS_RENAMEAT:        {"rename", byPathAt, 3, 0},
	unix.SYS_RENAMEAT2:       {"rename", byPathAt, 3, 0},
}

// program is the filter: the calls above are asked about, openat only where it may make a file, and all others go on.
func program() []unix.SockFilter {
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		anyBit = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		answer = unix.BPF_RET | unix.BPF_K
		allow  = 0x7fff0000
		ask    = 0x7fc00000
		number = 0  // offset of the call's number in struct seccomp_data
		first  = 16 // and of its first argument, each of 8 bytes
	)
	list := []unix.SockFilter{{Code: load, K: number}}
	for _, nr := range slices.Sorted(maps.Keys(watched)) {
		w := watched[nr]
		if w.flags == 0 {
			list = append(list, unix.SockFilter{Code: equal, K: uint32(nr), Jt: 0, Jf: 1}, unix.SockFilter{Code: answer, K: ask})
			continue
		}
		list = append(list,
			unix.SockFilter{Code: equal, K: uint32(nr), Jt: 0, Jf: 4},
			unix.SockFilter{Code: load, K: uint32(first + 8*w.flags)},
			unix.SockFilter{Code: anyBit, K: unix.O_CREAT, Jt: 1, Jf: 0},
			unix.SockFilter{Code: answer, K: allow},
			unix.SockFilter{Code: answer, K: ask})
	}
	return append(list, unix.SockFilter{Code: answer, K: allow})
}
