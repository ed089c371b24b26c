//go:build linux

package diskfaults

import "golang.org/x/sys/unix"

// The older calls that C libraries use on this architecture.
func init() {
	watched[unix.SYS_OPEN] = watchedCall{"create", byPath, 0, 1}
	watched[unix.SYS_CREAT] = watchedCall{"create", byPath, 0, 0}
	watched[unix.SYS_MKDIR] = watchedCall{"mkdir", byPath, 0, 0}
	watched[unix.SYS_LINK] = watchedCall{"link", byPath, 1, 0}
	watched[unix.SYS_RENAME] = watchedCall{"rename", byPath, 1, 0}
}
