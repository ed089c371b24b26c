package adapters

import (
	"os"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// fileSystem is how the Store changes the disk. Tests put one in its place whose operations fail. Only the user of
// the process can read what it makes. Its methods may be called from any goroutine.
type fileSystem interface {
	Mkdir(path string) error
	MkdirTemp(dir, pattern string) (string, error)
	Create(path string) (*os.File, error) // a new file
	CreateTemp(dir, pattern string) (*os.File, error)
	Write(f *os.File, b []byte) (int, error)
	Sync(f *os.File) error
	Rename(from, to string) error
	SyncDir(path string) error
	Remove(path string) error
}

// osFiles is the operating system's. Its zero value is ready for use.
type osFiles struct{}

func (osFiles) Mkdir(path string) error                       { return os.Mkdir(path, 0o700) }
func (osFiles) MkdirTemp(dir, pattern string) (string, error) { return os.MkdirTemp(dir, pattern) }
func (osFiles) Create(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}
func (osFiles) CreateTemp(dir, pattern string) (*os.File, error) { return os.CreateTemp(dir, pattern) }
func (osFiles) Write(f *os.File, b []byte) (int, error)          { return f.Write(b) }
func (osFiles) Sync(f *os.File) error                            { return f.Sync() }
func (osFiles) Rename(from, to string) error                     { return os.Rename(from, to) }
func (osFiles) SyncDir(path string) error                        { return disk.SyncDir(path) }
func (osFiles) Remove(path string) error                         { return os.Remove(path) }
