package batches

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// folder is where the batches are: one folder for each, with
//
//	batch.json    what the batch is and where it stands
//	input.jsonl   its requests, until it has ended
//	output.jsonl  the results of lines that succeeded, and
//	error.jsonl   of the others, until they are files of their own
//
// A batch that is being made or removed is in the folder tmp.
type folder string

const (
	aboutFile  = "batch.json"
	inputFile  = "input.jsonl"
	outputFile = "output.jsonl"
	errorFile  = "error.jsonl"
	tmpFolder  = "tmp"
)

func (d folder) path(parts ...string) string {
	return filepath.Join(append([]string{string(d)}, parts...)...)
}

// open makes the folder and keeps other processes out until the file is closed. What was being made or removed is gone.
func (d folder) open() (*os.File, error) {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return nil, disk.NoSpace(err)
	}
	lock, err := disk.Lock(string(d))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.RemoveAll(d.path(tmpFolder)), os.Mkdir(d.path(tmpFolder), 0o700)); err != nil {
		lock.Close()
		return nil, disk.NoSpace(err)
	}
	return lock, nil
}

// load reads all batches. Those that cannot be read are in damaged, each as an error that wraps ErrDamaged.
func (d folder) load() (list []Batch, damaged []error, err error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		if !isID(e.Name(), idPrefix) {
			continue // not ours
		}
		var b Batch
		text, err := os.ReadFile(d.path(e.Name(), aboutFile))
		if err == nil {
			err = json.Unmarshal(text, &b)
		}
		if err == nil && b.ID != e.Name() {
			err = fmt.Errorf("it is of %q", b.ID)
		}
		if err != nil {
			damaged = append(damaged, fmt.Errorf("%w: %s: %w", ErrDamaged, e.Name(), err))
			continue
		}
		list = append(list, b)
	}
	return list, damaged, nil
}

// create makes the folder of a new batch: all of it or nothing.
func (d folder) create(b Batch, input io.Reader, most int64) (err error) {
	tmp := d.path(tmpFolder, b.ID)
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return disk.NoSpace(err)
	}
	defer func() {
		if err != nil {
			err = disk.NoSpace(errors.Join(err, os.RemoveAll(tmp)))
		}
	}()
	if err := copyFile(filepath.Join(tmp, inputFile), input, most); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(tmp, aboutFile), b); err != nil {
		return err
	}
	if err := os.Rename(tmp, d.path(b.ID)); err != nil {
		return err
	}
	if err := disk.SyncDir(string(d)); err != nil {
		return errors.Join(err, os.RemoveAll(d.path(b.ID)))
	}
	return nil
}

// copyFile copies at most so many bytes into a new file and puts it on the disk.
func copyFile(path string, r io.Reader, most int64) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	n, err := io.Copy(f, io.LimitReader(r, most+1))
	if err != nil {
		return err
	}
	if n > most {
		return fmt.Errorf("%w: it has more than %d bytes", ErrTooLarge, most)
	}
	return f.Sync()
}

// save replaces what is known of a batch.
func (d folder) save(b Batch) error { return writeJSON(d.path(b.ID, aboutFile), b) }

func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return disk.WriteFile(path, 0o600, func(w io.Writer) error {
		_, err := w.Write(append(text, '\n'))
		return err
	})
}

// clean removes what a batch that has ended does not need any longer.
func (d folder) clean(id string) error {
	var errs []error
	for _, name := range []string{inputFile, outputFile, errorFile} {
		if err := os.Remove(d.path(id, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// remove takes a batch out of its place, then deletes it.
func (d folder) remove(id string) error {
	tmp := d.path(tmpFolder, "gone-"+id)
	if err := os.Rename(d.path(id), tmp); err != nil {
		return err
	}
	return os.RemoveAll(tmp)
}
