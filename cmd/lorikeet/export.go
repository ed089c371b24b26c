package main

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/demo"
	"github.com/lorikeet-ai/lorikeet/internal/disk"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// exportFlags are what `lorikeet adapter export` was asked for.
type exportFlags struct {
	client
	format string
	data   string // the folder that adapters are stored in; "": ask the server
	model  string // of --data and gguf
}

// exportCommand writes an adapter to a file or folder.
func exportCommand(env lookup) *cobra.Command {
	var e exportFlags
	server := pflag.NewFlagSet("server", pflag.ContinueOnError)
	e.bind(server)
	cmd := &cobra.Command{
		Use:   "export NAME OUT",
		Short: "Write an adapter for PEFT or llama.cpp",
		Long: "Write an adapter for PEFT or llama.cpp.\n\n" +
			"NAME may be name@version, or name@step-100 for a checkpoint. With --format peft OUT is a folder, or a .zip by its\n" +
			"ending; with --format gguf it is an adapter file of llama.cpp. The adapter comes from a running server, or from the\n" +
			"folder that one stores its adapters in.",
		Args: exactly(2, "NAME and OUT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := readEnv(server, env); err != nil {
				return err
			}
			if err := e.check(); err != nil {
				return err
			}
			return e.run(cmd.Context(), args[0], args[1], cmd.OutOrStdout())
		},
	}
	describeEnv(server)
	choiceFlag(cmd.Flags(), &e.format, "format", string(adapters.PEFT), "form to write", string(adapters.PEFT), string(adapters.GGUF))
	cmd.Flags().StringVar(&e.data, "data", "", "folder that adapters are stored in, to read instead of asking a server")
	cmd.Flags().StringVarP(&e.model, "model", "m", "", "with --data and --format gguf: GGUF file of the base model; empty for the built-in one")
	cmd.Flags().AddFlagSet(server)
	return cmd
}

// run writes the adapter so that out holds all of it or what it held before.
func (e *exportFlags) run(ctx context.Context, name, out string, stdout io.Writer) error {
	format := adapters.Format(e.format)
	ref, err := adapters.ParseRef(name)
	if err != nil {
		return fmt.Errorf("%w: NAME: %w", errUsage, err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(out), "."+filepath.Base(out)+".*.tmp")
	if err = disk.NoSpace(err); errors.Is(err, disk.ErrNoSpace) || disk.Failed(err) != nil {
		return fmt.Errorf("OUT: %w", err)
	}
	if err != nil {
		return fmt.Errorf("%w: OUT: %w", errUsage, err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	var notes []string
	if e.data != "" {
		notes, err = e.fromFolder(tmp, ref, format)
	} else {
		notes, err = e.download(ctx, tmp, ref, format)
	}
	if err == nil {
		err = errors.Join(tmp.Chmod(0o644), tmp.Sync())
	}
	if err != nil {
		return err
	}
	if format == adapters.PEFT && !strings.HasSuffix(out, ".zip") {
		err = unzipTo(tmp, out)
	} else {
		err = os.Rename(tmp.Name(), out)
	}
	if err != nil {
		return err
	}
	for _, note := range notes {
		fmt.Fprintln(stdout, "note:", note)
	}
	_, err = fmt.Fprintf(stdout, "%s: %s as %s\n", out, ref, format)
	return err
}

// fromFolder reads the folder of a Store.
func (e *exportFlags) fromFolder(w io.Writer, ref adapters.Ref, format adapters.Format) ([]string, error) {
	var base *runtime.Facts
	if format == adapters.GGUF {
		file, err := openBase(e.model)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		if base, err = peft.FactsOf(file); err != nil {
			return nil, err
		}
	}
	_, notes, err := adapters.ExportStored(w, e.data, ref, format, base)
	return notes, err
}

// openBase opens the header of a base model; "" is the built-in one.
func openBase(path string) (*quant.File, error) {
	if path == "" {
		return quant.Read(bytes.NewReader(demo.Base()), int64(len(demo.Base())))
	}
	file, err := quant.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: --model: %w", errUsage, err)
	}
	return file, nil
}

// download asks the server, and returns what it notes.
func (e *exportFlags) download(ctx context.Context, w io.Writer, ref adapters.Ref, format adapters.Format) (notes []string, err error) {
	address := strings.TrimRight(e.url, "/") + "/adapters/" + url.PathEscape(ref.String()) + "/download?format=" + string(format)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	e.authorize(req)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no answer from the server: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, refused(resp)
	}
	n, err := io.Copy(w, resp.Body)
	if err == nil && n != resp.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("the download ended after %d of %d bytes: %w", n, resp.ContentLength, err)
	}
	for _, text := range resp.Header.Values("Warning") {
		notes = append(notes, strings.Trim(strings.TrimPrefix(text, "199 lorikeet "), `"`))
	}
	return notes, nil
}

// unzipTo makes the folder out of an archive that we wrote. A folder of that name must not be there, or be empty.
func unzipTo(archive *os.File, out string) error {
	info, err := archive.Stat()
	if err != nil {
		return err
	}
	z, err := zip.NewReader(archive, info.Size())
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(out), "."+filepath.Base(out)+".*.tmp")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, f := range z.File {
		if err := unzipFile(f, filepath.Join(dir, filepath.Base(f.Name))); err != nil {
			return err
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if err := os.Rename(dir, out); err != nil {
		if _, e := os.Stat(out); !errors.Is(e, fs.ErrNotExist) {
			return fmt.Errorf("%w: OUT: %s is there already", errUsage, out)
		}
		return err
	}
	return nil
}

func unzipFile(f *zip.File, path string) error {
	in, err := f.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}
