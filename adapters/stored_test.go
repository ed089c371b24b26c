package adapters

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
)

func TestOpenPathRefuses(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	base := pefttest.Facts()
	dir := filepath.Join(t.TempDir(), "adapter")
	p := pefttest.New(1)
	p.Config["r"] = 5
	p.Folder(t, dir)
	_, err := OpenPath(base, dir)
	pefttest.WantError(t, err, peft.ErrFormat, "rank 4", "says 5")
	if _, err := OpenPath(base, dir+"-none"); err == nil {
		t.Error("a path that is not there opens")
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "lorikeet-adapter-*")); err != nil || len(left) > 0 {
		t.Errorf("left are %v (%v)", left, err)
	}
}
