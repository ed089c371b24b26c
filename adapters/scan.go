package adapters

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
)

// This file looks at what is in a watched folder and updates the Store.

// scan looks at everything in a folder.
func (f *Folders) scan(d *watched, first bool) error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !d.takes(e.Name()) {
			continue
		}
		f.watchInside(d, e.Name())
		f.look(d, e.Name(), first)
	}
	return nil
}

// removeStale deletes the names that came from a file or folder that is gone.
func (f *Folders) removeStale() {
	for _, info := range f.o.Store.List() {
		path := info.Origin.Detail
		watched := slices.ContainsFunc(f.dirs, func(d *watched) bool { return d.path == filepath.Dir(path) && d.takes(filepath.Base(path)) })
		if _, err := os.Lstat(path); info.Origin.Kind == FromFolder && watched && errors.Is(err, fs.ErrNotExist) {
			f.remove(info.Name, path)
		}
	}
}

// look updates the Store with the adapter at top, an entry of the folder.
func (f *Folders) look(d *watched, top string, first bool) {
	path := filepath.Join(d.path, top)
	stamp, err := d.stamp(top)
	name := strings.TrimSuffix(top, ".gguf")
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		f.fail(name, path, err)
	case stamp == "":
		if f.owner[name] == path || f.isFrom(name, path) {
			f.remove(name, path)
		}
	case f.owner[name] != "" && f.owner[name] != path:
		f.fail(name, path, fmt.Errorf("%w: the name %q is taken by %s", ErrName, name, f.owner[name]))
	default:
		f.register(d, top, name, stamp, first)
	}
}

// register puts the adapter in the Store unless it was put before.
func (f *Folders) register(d *watched, top, name, stamp string, first bool) {
	path := filepath.Join(d.path, top)
	versions, err := f.o.Store.Versions(name)
	if err == nil {
		known := slices.IndexFunc(versions, func(i Info) bool { return i.Origin.Detail == path && i.Origin.Stamp == stamp })
		if known >= 0 {
			f.owner[name] = path
			if first {
				f.o.Event(FolderEvent{Action: Unchanged, Name: name, Path: path, Info: versions[known]})
			}
			return
		}
	}
	info, err := f.put(f.ctx, d, top, name, Origin{Kind: FromFolder, Detail: path, Stamp: stamp})
	if err != nil {
		f.fail(name, path, err)
		return
	}
	f.owner[name] = path
	delete(f.tries, path)
	f.o.Event(FolderEvent{Action: Registered, Name: name, Path: path, Info: info})
	if now, err := d.stamp(top); err != nil || now != stamp {
		f.due[path] = time.Now().Add(f.o.Quiet) // it changed while it was read
	}
}

// put stores the adapter folder or file at rel, which is opened below the watched folder and nowhere else.
func (f *Folders) put(ctx context.Context, d *watched, rel, name string, o Origin) (Info, error) {
	return f.o.Store.put(ctx, name, Note{Origin: o}, func(op *opener) (*peft.Source, error) {
		file, err := d.open(rel)
		if err != nil {
			return nil, err
		}
		return op.open(file, func(name string) (*os.File, error) { return d.open(filepath.Join(rel, name)) })
	})
}

// open opens a file of the folder. The error says where it is a link that leads out, or cannot be read.
func (d *watched) open(rel string) (file *os.File, err error) {
	err = d.inside(rel, func(root *os.Root, rel string) (err error) {
		file, err = openPlain(func(flag int) (*os.File, error) { return root.OpenFile(rel, flag, 0) })
		return err
	})
	return file, d.explain(rel, err)
}

// explain says of an error where an entry is a link that leads out of the folder, or cannot be read.
func (d *watched) explain(rel string, err error) error {
	var errno syscall.Errno // which the error of such a link has not
	switch {
	case err == nil || errors.Is(err, peft.ErrFormat) || errors.Is(err, fs.ErrNotExist):
		return err
	case !errors.As(err, &errno):
		return fmt.Errorf("%w: %s is a link that leads out of %s: %w", ErrPath, rel, d.folder(), err)
	case errno == syscall.EACCES || errno == syscall.ELOOP:
		return fmt.Errorf("%w: %w", ErrPath, err)
	}
	return err
}

// remove deletes a name if it points at what came from path, and lets another file of that name take it.
func (f *Folders) remove(name, path string) {
	if f.isFrom(name, path) {
		if err := f.o.Store.Delete(name, Origin{Kind: FromFolder, Detail: path}); err != nil {
			f.fail(name, path, err)
			return
		}
		f.o.Event(FolderEvent{Action: Removed, Name: name, Path: path})
	}
	if f.owner[name] == path {
		delete(f.owner, name)
	}
	delete(f.tries, path)
	for _, d := range f.dirs {
		for _, other := range []string{filepath.Join(d.path, name), filepath.Join(d.path, name+".gguf")} {
			if _, err := os.Lstat(other); err == nil && other != path && d.takes(filepath.Base(other)) {
				f.due[other] = time.Now()
			}
		}
	}
}

// isFrom reports whether a name points at a version that came from path.
func (f *Folders) isFrom(name, path string) bool {
	info, err := f.o.Store.Get(Ref{Name: name})
	return err == nil && info.Origin.Kind == FromFolder && info.Origin.Detail == path
}

// fail tells of an error, once, and looks again later: the files may not be whole yet.
func (f *Folders) fail(name, path string, err error) {
	a := f.tries[path]
	if a == nil {
		a = &attempts{}
		f.tries[path] = a
	}
	if a.last != err.Error() {
		a.last = err.Error()
		f.o.Event(FolderEvent{Action: Failed, Name: name, Path: path, Err: err})
	}
	if a.count++; a.count <= maxAttempts {
		f.due[path] = time.Now().Add(f.o.Quiet << a.count)
	}
}

// stamp returns a text that changes with the files of the adapter at top, and "" where there is none.
func (d *watched) stamp(top string) (string, error) {
	info, err := d.stat(top)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return "", err
	}
	if !info.IsDir() {
		if filepath.Ext(top) != ".gguf" {
			return "", nil
		}
		return stampOf(info), nil
	}
	var parts []string
	for _, name := range []string{peft.ConfigFile, peft.TensorsFile, TemplateFile, tokenizerFile, ToolTemplateFile,
		filepath.Join(templateFolder, ToolTemplateFile)} {
		info, err := d.stat(filepath.Join(top, name))
		switch {
		case err == nil:
			parts = append(parts, stampOf(info))
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		case name == peft.ConfigFile:
			return "", nil // some other folder
		}
	}
	return strings.Join(parts, " "), nil
}

func stampOf(i fs.FileInfo) string {
	return fmt.Sprintf("%s:%d:%d", i.Name(), i.Size(), i.ModTime().UnixNano())
}

// ImportPath stores the adapter folder, GGUF LoRA file or archive at path under name. The path is absolute, or
// relative to one of the watched folders or to the working directory, and must lie inside one of them once symbolic links are followed: the
// error wraps ErrPath otherwise. Other errors are those of Store.PutUpload.
func (f *Folders) ImportPath(ctx context.Context, name, path string) (Info, error) {
	d, rel, err := f.locate(path)
	if err != nil {
		return Info{}, err
	}
	return f.put(ctx, d, rel, name, Origin{Kind: FromPath, Detail: filepath.Join(d.path, rel)})
}

// locate finds the watched folder that a path lies in.
func (f *Folders) locate(path string) (d *watched, rel string, err error) {
	if len(f.dirs) == 0 {
		return nil, "", fmt.Errorf("%w: path %q: the server was started without adapter folders", ErrPath, path)
	}
	missing := false
	for _, full := range f.meanings(path) {
		real, err := filepath.EvalSymlinks(full)
		if err != nil {
			inside := slices.ContainsFunc(f.dirs, func(d *watched) bool { return d.holds(full) })
			missing = missing || inside && errors.Is(err, fs.ErrNotExist)
			continue
		}
		for _, d := range f.dirs {
			if d.holds(real) {
				rel, err := filepath.Rel(d.path, real)
				return d, rel, err
			}
		}
	}
	if missing {
		return nil, "", fmt.Errorf("%w: path %q does not exist", ErrPath, path)
	}
	return nil, "", fmt.Errorf("%w: path %q", ErrPath, path)
}

// meanings are the absolute paths that a path may stand for.
func (f *Folders) meanings(path string) []string {
	if filepath.IsAbs(path) {
		return []string{path}
	}
	var list []string
	for _, d := range f.dirs {
		list = append(list, filepath.Join(d.folder(), path))
	}
	if here, err := filepath.Abs(path); err == nil {
		list = append(list, here)
	}
	return list
}

// holds reports whether an absolute path lies in the folder, by its text.
func (d *watched) holds(path string) bool {
	rel, err := filepath.Rel(d.folder(), path)
	return err == nil && filepath.IsLocal(rel)
}
