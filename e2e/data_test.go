package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// formOf is a form of fields, whose names and values follow in turn, and files in the field "file", with its type.
func formOf(t testing.TB, files []string, fields ...string) (body *bytes.Buffer, kind string) {
	t.Helper()
	body = new(bytes.Buffer)
	w := multipart.NewWriter(body)
	for i := 0; i < len(fields); i += 2 {
		w.WriteField(fields[i], fields[i+1])
	}
	for _, path := range files {
		part, err := w.CreateFormFile("file", filepath.Base(path))
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		part.Write(data)
	}
	w.Close()
	return body, w.FormDataContentType()
}

// postForm sends what formOf makes.
func postForm(t *testing.T, url string, files []string, fields ...string) {
	t.Helper()
	body, kind := formOf(t, files, fields...)
	resp, err := http.Post(url, kind, body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		t.Fatalf("%s: %s", url, resp.Status)
	}
}

// openEntries are the entries of a folder that others than the owner have rights to.
func openEntries(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			list = append(list, fmt.Sprintf("%s (%v)", path, info.Mode()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestDataFolderIsPrivate looks at every file that a server makes, and at those that an earlier one left open.
func TestDataFolderIsPrivate(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	demo := []string{"demo/adapters/pirate/adapter_config.json", "demo/adapters/pirate/adapter_model.safetensors"}
	b := boot(t, "--data", data)
	postForm(t, b.url()+"/adapters", demo, "name", "pirate")
	set := filepath.Join(t.TempDir(), "set.jsonl")
	if err := os.WriteFile(set, []byte(strings.Repeat(`{"prompt":"secret","completion":"b"}`+"\n", 4)), 0o600); err != nil {
		t.Fatal(err)
	}
	postForm(t, b.url()+"/v1/files", []string{set}, "purpose", "fine-tune")
	postForm(t, b.url()+"/adapters/train", []string{set}, "name", "trained", "max_steps", "2", "save_steps", "1")
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		if resp, err := http.Get(b.url() + "/adapters/trained"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("the job does not end")
		}
	}
	b.stop()
	if list := openEntries(t, data); len(list) > 0 {
		t.Errorf("other users have rights to %v", list)
	}
	for _, dir := range []string{"versions", "training"} { // as earlier releases left them
		err := filepath.WalkDir(filepath.Join(data, dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil {
				err = os.Chmod(path, map[bool]os.FileMode{true: 0o755, false: 0o644}[d.IsDir()])
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	b = boot(t, "--data", data, "--log-level", "info")
	if list := openEntries(t, data); len(list) > 0 {
		t.Errorf("after a start, other users have rights to %v", list)
	}
	if !strings.Contains(b.errs.String(), "rights of other users") {
		t.Errorf("the log does not say so: %s", b.errs.String())
	}
	b.get("/adapters/pirate", &struct{}{})
}

// TestKilledUploadsLeaveNothing kills a server in the middle of an upload, twice.
func TestKilledUploadsLeaveNothing(t *testing.T) {
	data, temporary := t.TempDir(), t.TempDir()
	for range 2 {
		p := startIn(t, map[string]string{"TMPDIR": temporary}, "--data", data)
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /adapters HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\nContent-Length: 9000000\r\n\r\n"+
			"--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.zip\"\r\n\r\n%s", strings.Repeat("x", 1<<20))
		for deadline := time.Now().Add(startTimeout); ; time.Sleep(5 * time.Millisecond) {
			if left, err := os.ReadDir(filepath.Join(data, "tmp")); err == nil && len(left) > 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the upload is not received in the data folder")
			}
		}
		p.kill(t)
	}
	b := boot(t, "--data", data)
	for _, dir := range []string{filepath.Join(data, "tmp"), temporary} {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s holds %v (%v)", dir, left, err)
		}
	}
	b.stop()
}
