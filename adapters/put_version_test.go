package adapters

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
)

// A version has two names: its files are there once, go with the last of them, and a restart finds both.
func TestPutVersion(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	first := mustPut(t, s, "a", pefttest.New(1))
	note := Note{Origin: Origin{Kind: FromTinker, Detail: "a copy"}}
	second, err := s.PutVersion("b", Ref{Name: "a", Version: first.Digest}, note)
	if err != nil {
		t.Fatal(err)
	}
	if second.Name != "b" || second.Digest != first.Digest || second.Origin.Detail != "a copy" || second.Bytes != first.Bytes {
		t.Errorf("the copy is %+v", second)
	}
	_, err = s.PutVersion("c", Ref{Name: "none"}, note)
	pefttest.WantError(t, err, ErrUnknown, "none")
	_, err = s.PutVersion("../c", Ref{Name: "a"}, note)
	pefttest.WantError(t, err, ErrName, "")
	if err := s.Delete("a", Origin{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	if _, _, err := s.Load(Ref{Name: "b"}); err != nil {
		t.Errorf("the copy cannot be read when its source is deleted: %v", err)
	}
	if err := s.Delete("b", Origin{}); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "versions")); err != nil || len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
