package cluster

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
	"github.com/lorikeet-ai/lorikeet/adapters/storetest"
)

// storage opens an Adapters that tells nobody.
func storage(t testing.TB, n *Node, o AdapterOptions) *Adapters {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.LocalBytes == 0 {
		o.LocalBytes = 1 << 30
	}
	if o.Grace == 0 {
		o.Grace = time.Hour
	}
	a, err := n.Adapters(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	silent := adapters.Follower{Version: func(adapters.StoredVersion) {}, Record: func(adapters.Record) {}, Unused: func(string) bool { return true }, Warn: func(string) {}}
	if err := a.Open(silent); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// version makes a folder with the files of a version that has so many bytes of tensors, and says its digest.
func version(t testing.TB, bytes int) (digest, dir string) {
	t.Helper()
	dir = t.TempDir()
	tensors := make([]byte, bytes)
	for i := range tensors {
		tensors[i] = byte(rand.Uint32())
	}
	for name, text := range map[string][]byte{peft.ConfigFile: []byte("{}"), peft.TensorsFile: tensors, "manifest.json": []byte(`{}`)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	digest, err := adapters.DigestOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	return digest, dir
}

func place(t testing.TB, a *Adapters, digest, dir string, there bool) {
	t.Helper()
	uploaded, err := a.Upload(t.Context(), digest, dir, there)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Place(adapters.StoredVersion{Digest: digest, Manifest: []byte(`{}`)}, dir, uploaded, there); err != nil {
		t.Fatal(err)
	}
}

// knows waits until a version has been told of.
func knows(t testing.TB, a *Adapters, digest string, want bool) {
	t.Helper()
	storetest.Eventually(t, "the version is known, or not", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		_, known := a.versions[digest]
		return known == want
	})
}

// A version of several objects is brought once, however many ask for it, and its copy is a version like the first.
func TestVersionsAreFetchedOnce(t *testing.T) {
	o := single(t)
	o.MaxBytes = 1 << 30
	n := open(t, o)
	a, b := storage(t, n, AdapterOptions{}), storage(t, n, AdapterOptions{})
	digest, dir := version(t, 2*partBytes+12345)
	place(t, a, digest, dir, false)
	knows(t, b, digest, true)
	if parts := b.versions[digest].Parts; parts != 3 {
		t.Errorf("it has %d objects", parts)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			dir, release, err := b.Folder(t.Context(), digest)
			if err != nil {
				t.Error(err)
				return
			}
			defer release()
			if got, err := adapters.DigestOf(dir); got != digest || err != nil {
				t.Errorf("the copy has the digest %s, %v", got, err)
			}
		})
	}
	all.Wait()
	if s := b.Stats(); s.Fetches != 1 || s.Local != 1 || s.FetchedBytes < 2*partBytes || s.LocalBytes < 2*partBytes {
		t.Errorf("%+v", s)
	}
	if s := a.Stats(); s.Fetches != 0 || s.Local != 1 {
		t.Errorf("where it was put: %+v", s)
	}
}

// The copies stay within their bytes; those used last stay, and those in use.
func TestCopiesAreBounded(t *testing.T) {
	n := open(t, single(t))
	a, b := storage(t, n, AdapterOptions{}), storage(t, n, AdapterOptions{LocalBytes: 250 << 10})
	var digests []string
	for range 4 {
		digest, dir := version(t, 100<<10)
		place(t, a, digest, dir, false)
		knows(t, b, digest, true)
		digests = append(digests, digest)
	}
	use := func(i int) func() {
		_, release, err := b.Folder(t.Context(), digests[i])
		if err != nil {
			t.Fatal(err)
		}
		return release
	}
	held := use(0)
	for _, i := range []int{1, 2, 1, 3} {
		use(i)()
		if s := b.Stats(); s.LocalBytes > 250<<10 {
			t.Errorf("%+v", s)
		}
	}
	if s := b.Stats(); s.Fetches != 5 || s.Local != 2 { // 1 was fetched again after 2
		t.Errorf("%+v", s)
	}
	held()
	left, _ := os.ReadDir(b.o.Dir)
	if len(left) != 2 {
		t.Errorf("the folder of copies has %v", left)
	}
}

// A copy that was damaged between two runs is brought again; objects that are damaged are an error, until the version is
// put again.
func TestDamagedFilesAreNotServed(t *testing.T) {
	n := open(t, single(t))
	a := storage(t, n, AdapterOptions{})
	digest, dir := version(t, 1000)
	place(t, a, digest, dir, false)
	copies := a.o.Dir
	a.Close()
	if err := os.WriteFile(filepath.Join(copies, digest, peft.TensorsFile), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	a = storage(t, n, AdapterOptions{Dir: copies})
	folder, release, err := a.Folder(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	release()
	if got, err := adapters.DigestOf(folder); got != digest || err != nil || a.Stats().Fetches != 1 {
		t.Errorf("the copy has the digest %s, %v", got, err)
	}

	other := storage(t, n, AdapterOptions{})
	if _, err := a.objects.PutBytes(t.Context(), a.versions[digest].part(0), []byte("damaged")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := other.Folder(t.Context(), digest); !errors.Is(err, adapters.ErrDamaged) {
		t.Errorf("damaged objects: %v", err)
	}
	again := t.TempDir()
	if err := os.CopyFS(again, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	place(t, other, digest, again, false)
	third := storage(t, n, AdapterOptions{})
	if _, release, err = third.Folder(t.Context(), digest); err != nil {
		t.Fatal(err)
	}
	release()
}

// Objects that are damaged are noticed by the node that needs them, and are replaced when the adapter is put again.
func TestDamagedObjectsAreRepaired(t *testing.T) {
	n := open(t, single(t))
	s, a := storeOf(t, n, "")
	info := storetest.Put(t, s, "a", 1)
	if _, err := a.objects.PutBytes(t.Context(), a.versions[info.Digest].part(0), []byte("damaged")); err != nil {
		t.Fatal(err)
	}
	other, _ := storeOf(t, n, "")
	if _, _, err := other.Load(adapters.Ref{Name: "a"}); !errors.Is(err, adapters.ErrDamaged) || len(other.Damaged()) != 1 {
		t.Errorf("damaged objects: %v, damaged %v", err, other.Damaged())
	}
	storetest.Put(t, other, "a", 1)
	storetest.Loads(t, other, "a", info.Digest)
	third, _ := storeOf(t, n, "")
	storetest.Loads(t, third, "a", info.Digest)
}

// A version that no name has goes after the time of grace, with its objects; one that is put again meanwhile stays.
func TestUnusedVersionsGo(t *testing.T) {
	n := open(t, single(t))
	a := storage(t, n, AdapterOptions{Grace: 400 * time.Millisecond})
	gone, dir := version(t, 1000)
	place(t, a, gone, dir, false)
	stays, stayDir := version(t, 1000)
	place(t, a, stays, stayDir, false)
	kept := filepath.Join(a.o.Dir, stays)
	for _, digest := range []string{gone, stays} {
		knows(t, a, digest, true)
		if err := a.Remove(digest); err != nil {
			t.Fatal(err)
		}
	}
	for ended := time.Now().Add(1500 * time.Millisecond); time.Now().Before(ended); time.Sleep(50 * time.Millisecond) {
		place(t, a, stays, kept, true)
		if err := a.Remove(stays); err != nil {
			t.Fatal(err)
		}
	}
	knows(t, a, gone, false)
	knows(t, a, stays, true)
	storetest.Eventually(t, "its objects are gone", func() bool {
		list, err := a.objects.List(t.Context())
		return err == nil && len(list) == 1 && strings.HasPrefix(list[0].Name, stays)
	})
	if _, _, err := a.Folder(t.Context(), stays); err != nil {
		t.Error(err)
	}
	if _, _, err := a.Folder(t.Context(), gone); !errors.Is(err, adapters.ErrDamaged) {
		t.Errorf("the removed version: %v", err)
	}
}

// Objects of an upload that was not ended go.
func TestUnendedUploadsGo(t *testing.T) {
	n := open(t, single(t))
	a := storage(t, n, AdapterOptions{})
	used, dir := version(t, 1000)
	place(t, a, used, dir, false)
	digest, dir := version(t, 1000)
	if _, err := a.Upload(t.Context(), digest, dir, false); err != nil {
		t.Fatal(err)
	}
	const long = -time.Hour                          // any object is older
	lost := "$O." + n.bucket("versions") + ".C.LOST" // a message of a write that was not ended
	if _, err := n.js.Publish(t.Context(), lost, []byte("part")); err != nil {
		t.Fatal(err)
	}
	if orphans := a.collectObjects(nil, long); len(orphans) != 1 || !orphans[lost] {
		t.Errorf("messages without an object: %v", orphans)
	}
	a.collectObjects(map[string]bool{lost: true}, long)
	if orphans := a.collectObjects(nil, long); len(orphans) != 0 {
		t.Errorf("messages without an object are left: %v", orphans)
	}
	list, err := a.objects.List(t.Context())
	if err != nil || len(list) != 1 || !strings.HasPrefix(list[0].Name, used) {
		t.Errorf("the objects are %v, %v", list, err)
	}
}

// A full bucket refuses an adapter as a full disk does, and keeps what it has.
func TestFullBucket(t *testing.T) {
	o := single(t)
	o.MaxBytes = 4 << 20
	n := open(t, o)
	a := storage(t, n, AdapterOptions{})
	digest, dir := version(t, 1<<20)
	place(t, a, digest, dir, false)
	large, dir := version(t, 5<<20)
	if _, err := a.Upload(t.Context(), large, dir, false); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("more than fits: %v", err)
	}
	small, dir := version(t, 1<<20)
	storetest.Eventually(t, "what was written of it is gone", func() bool {
		_, err := a.Upload(t.Context(), small, dir, false)
		return err == nil
	})
}

// A watcher that ends, as a lost connection may leave it, is made anew, and what was missed is told.
func TestFollowingIsTakenUpAgain(t *testing.T) {
	n := open(t, single(t))
	s, a := storeOf(t, n, "")
	storetest.Put(t, s, "a", 1)
	stream, err := n.js.Stream(t.Context(), "KV_"+a.records.Bucket())
	if err != nil {
		t.Fatal(err)
	}
	names := stream.ConsumerNames(t.Context())
	for name := range names.Name() { // the consumers of both watchers
		if err := stream.DeleteConsumer(t.Context(), name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			t.Fatal(err)
		}
	}
	other, err := n.Adapters(t.Context(), AdapterOptions{Dir: t.TempDir(), LocalBytes: 1 << 20, Grace: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	far, err := adapters.Open(adapters.Options{Dir: t.TempDir(), Facts: pefttest.Facts(), Storage: other})
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	info := storetest.Put(t, far, "b", 2)
	storetest.Eventually(t, "the first store is told", func() bool {
		got, err := s.Get(adapters.Ref{Name: "b"})
		return err == nil && got.Digest == info.Digest
	})
}
