package adapters

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

func names(list []Info) (out []string) {
	for _, i := range list {
		out = append(out, i.Name)
	}
	return out
}

func versions(list []Info) (out []string) {
	for _, i := range list {
		out = append(out, i.Version)
	}
	return out
}

// tree lists what is under a folder.
func tree(t testing.TB, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && path != dir {
			rel, _ := filepath.Rel(dir, path)
			out = append(out, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestStoreKeepsVersions(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	one := mustPut(t, s, "pirate", pefttest.New(1))
	two, err := s.PutUpload(t.Context(), "pirate", partsOf(t, pefttest.New(2)), Note{Origin: Origin{Kind: FromJob, Detail: "job-1"}, Metrics: map[string]float64{"loss": 0.5}})
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, "json", pefttest.New(1))
	check := func(s *Store) {
		t.Helper()
		if got := names(s.List()); !slices.Equal(got, []string{"json", "pirate"}) {
			t.Errorf("the store lists %v", got)
		}
		list, err := s.Versions("pirate")
		if err != nil || !slices.Equal(versions(list), []string{two.Version, one.Version}) || !list[0].Current || list[1].Current {
			t.Errorf("versions %+v (%v)", list, err)
		}
		got, err := s.Get(Ref{Name: "pirate"})
		if err != nil || got.Digest != two.Digest || got.Metrics["loss"] != 0.5 || got.Origin.Detail != "job-1" || got.Rank != 4 ||
			got.Base != "tiny-1" || got.Created.IsZero() || got.Bytes < 4*got.Parameters || len(got.Targets) != 7 {
			t.Errorf("pirate is %+v (%v)", got, err)
		}
		old, err := s.Get(Ref{Name: "pirate", Version: one.Version[:6]})
		if err != nil || old.Digest != one.Digest || old.Metrics != nil {
			t.Errorf("the old version is %+v (%v)", old, err)
		}
		a, err := s.load(old.Digest)
		if err != nil {
			t.Fatal(err)
		}
		pefttest.Same(t, a, loraOf(t, pefttest.New(1), pefttest.Facts()))
	}
	check(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutUpload(t.Context(), "late", partsOf(t, pefttest.New(1)), Note{}); err == nil {
		t.Error("a closed store takes an adapter")
	}
	check(openStore(t, dir))
}

func TestReservedNames(t *testing.T) {
	s, err := Open(Options{Dir: t.TempDir(), Facts: pefttest.Facts(), Reserved: []string{"base"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.PutLoRA("base", loraOf(t, pefttest.New(1), pefttest.Facts()), Note{})
	pefttest.WantError(t, err, ErrName, `"base" stands for something else`)
	if _, err = s.PutLoRA("base2", loraOf(t, pefttest.New(1), pefttest.Facts()), Note{}); err != nil {
		t.Error(err)
	}
}

func TestStorePutIsIdempotent(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	one := mustPut(t, s, "a", pefttest.New(1))
	before := tree(t, dir)
	again := mustPut(t, s, "a", pefttest.New(1))
	if again.Digest != one.Digest || !again.Created.Equal(one.Created) || !slices.Equal(tree(t, dir), before) {
		t.Errorf("putting it again makes %+v of %+v, and %v of %v", again, one, tree(t, dir), before)
	}
	mustPut(t, s, "a", pefttest.New(2))
	mustPut(t, s, "a", pefttest.New(1)) // the name goes back
	list, err := s.Versions("a")
	if err != nil || len(list) != 2 || list[0].Digest != one.Digest {
		t.Errorf("versions %v (%v)", versions(list), err)
	}
}

func TestStoreDelete(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	shared := mustPut(t, s, "a", pefttest.New(1))
	own := mustPut(t, s, "a", pefttest.New(2))
	mustPut(t, s, "b", pefttest.New(1))
	held, err := s.take(Ref{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete("a", Origin{}); err != nil {
		t.Fatal(err)
	}
	_, err = s.Get(Ref{Name: "a"})
	pefttest.WantError(t, err, ErrUnknown, `"a"`)
	pefttest.WantError(t, s.Delete("a", Origin{}), ErrUnknown, `"a"`)
	if _, err := s.load(held.Digest); err != nil {
		t.Errorf("a version that is held cannot be read: %v", err)
	}
	s.drop(held.Digest)
	got, err := os.ReadDir(filepath.Join(dir, "versions"))
	if err != nil || len(got) != 1 || got[0].Name() != shared.Digest {
		t.Errorf("versions %v (%v), only %s is wanted, not %s", got, err, shared.Version, own.Version)
	}
	_, err = s.load(own.Digest)
	pefttest.WantError(t, err, ErrUnknown, own.Version)
	if err := s.Delete("b", Origin{}); err != nil {
		t.Fatal(err)
	}
	if left := tree(t, dir); !slices.Equal(left, []string{"checkpoints", "lock", "names", "tmp", "versions"}) {
		t.Errorf("an empty store has %v", left)
	}
}

func TestStoreNamesWhatIsUnknown(t *testing.T) {
	s := openStore(t, "")
	for _, n := range []string{"pirate", "pirate-v2", "parrot", "json", "Zebra"} {
		mustPut(t, s, n, pefttest.New(1))
	}
	for name, want := range map[string]string{"pirat": "pirate, pirate-v2, parrot", "JSON": "json", "zebra": "Zebra", "quite-another": ""} {
		_, err := s.Get(Ref{Name: name})
		var e *UnknownError
		if !errors.As(err, &e) || e.Name != name || strings.Join(e.Close, ", ") != want {
			t.Errorf("%s: %v, want the names %q", name, err, want)
		}
		pefttest.WantError(t, err, ErrUnknown, name)
	}
	info, err := s.Get(Ref{Name: "json"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Get(Ref{Name: "json", Version: "00000000"})
	pefttest.WantError(t, err, ErrUnknown, "json", "00000000", info.Version)
	_, err = s.Get(Ref{Name: "json", Version: "xyz"})
	pefttest.WantError(t, err, ErrReference, "xyz")
	_, err = s.Get(Ref{Name: "a/b"})
	pefttest.WantError(t, err, ErrName, "a/b")
	_, err = s.Versions("jsn")
	pefttest.WantError(t, err, ErrUnknown, "json")
}

func TestOpenCleansLeftovers(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	kept := mustPut(t, s, "kept", pefttest.New(1))
	orphan := mustPut(t, s, "orphan", pefttest.New(2))
	s.Close()
	if err := os.Remove(filepath.Join(dir, "names", "orphan.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "tmp", "put-1", "version"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "tmp", "name-x"), nil)
	write(t, filepath.Join(dir, "versions", "README"), nil) // not ours
	s = openStore(t, dir)
	if got := tree(t, filepath.Join(dir, "tmp")); len(got) > 0 {
		t.Errorf("leftovers %v", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "versions", orphan.Digest)); !os.IsNotExist(err) {
		t.Errorf("a version without a name is kept (%v)", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "versions", "README")); err != nil {
		t.Errorf("a file that is not the store's is gone: %v", err)
	}
	if _, err := s.load(kept.Digest); err != nil || len(s.Damaged()) != 0 {
		t.Errorf("kept: %v; damaged: %v", err, s.Damaged())
	}
}

// TestDamageIsReportedAndRepaired cuts, removes and changes stored files.
func TestDamageIsReportedAndRepaired(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	list := []string{"cut", "gone", "flipped"}
	infos := make(map[string]Info)
	for i, n := range list {
		infos[n] = mustPut(t, s, n, pefttest.New(uint64(i)))
	}
	mustPut(t, s, "good", pefttest.New(9))
	s.Close()
	tensors := func(name string) string { return filepath.Join(dir, "versions", infos[name].Digest, peft.TensorsFile) }
	if err := os.Truncate(tensors("cut"), 100); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Dir(tensors("gone"))); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(tensors("flipped"))
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-3] ^= 1
	write(t, tensors("flipped"), data)

	s = openStore(t, dir)
	if got := names(s.List()); !slices.Equal(got, []string{"flipped", "good"}) || len(s.Damaged()) != 2 {
		t.Errorf("the store lists %v and reports %v", got, s.Damaged())
	}
	_, err = s.load(infos["flipped"].Digest) // a changed bit is seen when the file is read
	pefttest.WantError(t, err, ErrDamaged, infos["flipped"].Digest)
	for i, n := range list {
		_, err := s.Get(Ref{Name: n})
		pefttest.WantError(t, err, ErrDamaged, n)
		if got := mustPut(t, s, n, pefttest.New(uint64(i))); got.Digest != infos[n].Digest {
			t.Errorf("%s came back as %s", n, got.Digest)
		}
		if _, err := s.load(infos[n].Digest); err != nil {
			t.Errorf("%s is not repaired: %v", n, err)
		}
	}
	if len(s.Damaged()) != 0 {
		t.Errorf("damaged are %v", s.Damaged())
	}
}

func TestOpenKeepsVersionsOfDamagedNames(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	info := mustPut(t, s, "a", pefttest.New(1))
	s.Close()
	write(t, filepath.Join(dir, "names", "a.json"), []byte(`{"name":"b"}`))
	s = openStore(t, dir)
	if _, err := os.Stat(filepath.Join(dir, "versions", info.Digest)); err != nil {
		t.Errorf("the version of a name that cannot be read is lost: %v", err)
	}
	_, err := s.Get(Ref{Name: "a"})
	pefttest.WantError(t, err, ErrDamaged, `"a"`)
	if got := mustPut(t, s, "a", pefttest.New(1)); got.Digest != info.Digest || len(s.Damaged()) != 0 {
		t.Errorf("putting it again gives %+v, damaged %v", got, s.Damaged())
	}
	write(t, filepath.Join(dir, "names", "c.json"), nil)
	s.Close()
	s = openStore(t, dir)
	if err := s.Delete("c", Origin{}); err != nil || len(s.Damaged()) != 0 {
		t.Errorf("deleting a damaged name: %v", err)
	}
}

func TestOpenTwice(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	if _, err := Open(Options{Dir: dir, Facts: pefttest.Facts()}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second store opened the same folder: %v", err)
	}
	s.Close()
	openStore(t, dir)
}

func TestStoreOfAnotherBase(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	info := mustPut(t, s, "a", pefttest.New(1))
	s.Close()
	open := func(change func(*runtime.Facts)) (*Store, *[]string) {
		f, warned := pefttest.Facts(), new([]string)
		f.Fingerprint = "tiny-2"
		change(f)
		s, err := Open(Options{Dir: dir, Facts: f, Warn: func(w string) { *warned = append(*warned, w) }})
		if err != nil {
			t.Fatal(err)
		}
		return s, warned
	}
	s, warned := open(func(f *runtime.Facts) {})
	for range 2 {
		if _, err := s.load(info.Digest); err != nil {
			t.Error(err)
		}
	}
	if len(*warned) != 1 || !strings.Contains((*warned)[0], info.Version) {
		t.Errorf("warnings %q, want one", *warned)
	}
	s.Close()
	s, _ = open(func(f *runtime.Facts) { f.Targets["blk.0.ffn_up.weight"] = runtime.Shape{In: 16, Out: 25} })
	defer s.Close()
	if got := names(s.List()); len(got) != 1 {
		t.Errorf("it lists %v", got)
	}
	_, err := s.load(info.Digest)
	pefttest.WantError(t, err, runtime.ErrAdapter, "layers.0.mlp.up_proj", "24 outputs", "tiny-1")
}

// TestStoreConcurrently puts, reads and deletes from many goroutines; -race checks them.
func TestStoreConcurrently(t *testing.T) {
	s := openStore(t, "")
	var uploads [3][]Part
	for i := range uploads {
		uploads[i] = partsOf(t, pefttest.New(uint64(i)))
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 12 {
				name := string(rune('a' + (g+i)%3))
				if _, err := s.PutUpload(t.Context(), name, uploads[i%3], Note{}); err != nil {
					t.Error(err)
				}
				info, err := s.take(Ref{Name: name})
				if err != nil {
					pefttest.WantError(t, err, ErrUnknown)
					continue
				}
				if _, err := s.load(info.Digest); err != nil {
					t.Error(err)
				}
				s.drop(info.Digest)
				s.List()
				if i%4 == 3 {
					if err := s.Delete(name, Origin{}); err != nil {
						pefttest.WantError(t, err, ErrUnknown)
					}
				}
			}
		})
	}
	wg.Wait()
	for _, i := range s.List() {
		if err := s.Delete(i.Name, Origin{}); err != nil {
			t.Error(err)
		}
	}
	if left := tree(t, s.o.Dir); len(left) != 5 {
		t.Errorf("left are %v", left)
	}
}

func TestWrittenFilesAreCanonicalPEFT(t *testing.T) {
	s := openStore(t, "")
	p := pefttest.New(1)
	p.Rename(func(n string) string {
		return "base_model.model." + strings.Replace(n, ".weight", ".default.weight", 1)
	})
	info := mustPut(t, s, "a", p)
	data, err := os.ReadFile(s.path("versions", info.Digest, peft.TensorsFile))
	if err != nil {
		t.Fatal(err)
	}
	_, want := pefttest.New(1).Encode(t)
	if !bytes.Equal(data, tensorBytes(t, want)) {
		t.Error("the stored tensors are not those of a plain PEFT file")
	}
}
