package training

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
	"github.com/lorikeet-ai/lorikeet/training/dataset"
)

// This file copies the datasets of a job, and writes those that are in another format as JSON Lines.

// copyInput copies a dataset to the file of a job that is in the folder for temporary files, and looks at every line of it
// unless later is set.
func (q *Queue) copyInput(ctx context.Context, r *record, file string, in Input, which string, later bool) (Source, error) {
	tmp := filepath.Join("tmp", r.ID)
	path := q.disk.path(tmp, file)
	n, err := int64(0), disk.NoSpace(q.disk.step("copy "+which))
	if err == nil {
		n, err = copyBounded(path, readerUntil{ctx, in.Body}, q.o.MaxDataset)
	}
	source := Source{File: in.File, Bytes: n}
	if err == nil {
		source.Format, err = formatOf(path, in.Name)
	}
	if err == nil && source.Format != dataset.JSON {
		err = os.Rename(path, q.disk.path(tmp, rawFile(file)))
	}
	if err != nil {
		return source, fmt.Errorf("the %s data: %w", which, err)
	}
	if later {
		return source, nil
	}
	return source, q.oneAtATime(ctx, func() error {
		if err := q.convert(ctx, tmp, file, which, source.Format); err != nil {
			return err
		}
		return q.checkDataset(ctx, &r.Config, path, which)
	})
}

// formatOf tells what a file is written in.
func formatOf(path, name string) (dataset.Format, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, dataset.HeadSize)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", err
	}
	return dataset.FormatOf(name, head[:n]), nil
}

// rawFile is where a dataset lies that is not written as JSON Lines yet.
func rawFile(file string) string { return strings.TrimSuffix(file, ".jsonl") + ".raw" }

// maxGrowth is how many times as long as a dataset may be what is written of it as JSON Lines, up to the most that a
// dataset may have: Parquet files are compressed.
const maxGrowth = 4

// convert writes a dataset in a job's folder as JSON Lines, where it is something else and that has not been done.
func (q *Queue) convert(ctx context.Context, job, file, which string, format dataset.Format) error {
	raw := filepath.Join(job, rawFile(file))
	f, err := os.Open(q.disk.path(raw))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	o := dataset.ConvertOptions{Which: which, Format: format, Limits: q.limits(), Bytes: maxGrowth * q.o.MaxDataset}
	err = q.disk.put(filepath.Join(job, file), func(w io.Writer) error { return dataset.Convert(ctx, f, o, w) })
	if err != nil {
		return err
	}
	return q.disk.remove(raw)
}

// convertInputs writes the datasets of a job as JSON Lines.
func (q *Queue) convertInputs(ctx context.Context, job *Job) error {
	folder := filepath.Join("jobs", job.ID)
	if err := q.convert(ctx, folder, trainingFile, "training", job.Training.Format); err != nil || job.Validation == nil {
		return err
	}
	return q.convert(ctx, folder, validationFile, "validation", job.Validation.Format)
}
