package tenants

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// maxFile bounds the file of keys, in bytes.
const maxFile = 4 << 20

// file is what the file of keys holds, as JSON.
type file struct {
	Keys []entry `json:"keys"`
}

// entry is a key and the tenant it belongs to. Several keys of one tenant repeat its description.
type entry struct {
	Tenant
	Digest string `json:"digest"` // sha256: and 64 hexadecimal digits
}

// digestPrefix names the digest that keys are kept as.
const digestPrefix = "sha256:"

// digestOf returns the digest of a key.
func digestOf(key string) [sha256.Size]byte { return sha256.Sum256([]byte(key)) }

// readFile reads and checks a file of keys.
func readFile(path string) (*file, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", path, len(text), maxFile)
	}
	f := &file{}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(f); err != nil {
		return nil, fmt.Errorf("%s is not a file of keys: %w", path, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s is not a file of keys: something follows its object", path)
	}
	known := map[string]*Tenant{}
	for i := range f.Keys {
		e := &f.Keys[i]
		if err := e.check(); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if _, err := e.digest(); err != nil {
			return nil, fmt.Errorf("%s: key %d of %s: %w", path, i+1, e.Name, err)
		}
		if other := known[e.Name]; other != nil && !sameTenant(other, &e.Tenant) {
			return nil, fmt.Errorf("%s: %w: %s is described in two ways: all keys of a tenant have the same roles, adapters, priority and quota", path, ErrTenant, e.Name)
		}
		known[e.Name] = &e.Tenant
	}
	return f, nil
}

// digest reads the digest of an entry.
func (e *entry) digest() (sum [sha256.Size]byte, err error) {
	digits, ok := bytes.CutPrefix([]byte(e.Digest), []byte(digestPrefix))
	raw := make([]byte, hex.DecodedLen(len(digits)))
	if _, err := hex.Decode(raw, digits); !ok || err != nil || len(raw) != len(sum) {
		return sum, fmt.Errorf("the digest %q is not %s and 64 hexadecimal digits", e.Digest, digestPrefix)
	}
	return [sha256.Size]byte(raw), nil
}

// sameTenant compares descriptions as they are written.
func sameTenant(a, b *Tenant) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

// Add makes a key for a tenant and appends it to the file, which it creates where there is none. It returns the key,
// which is stored nowhere. Where the tenant has keys already, all of them get the new description.
func Add(path string, t Tenant) (key string, err error) {
	if err := t.check(); err != nil {
		return "", err
	}
	f, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = &file{}, nil
	}
	if err != nil {
		return "", err
	}
	random := make([]byte, 32)
	rand.Read(random) // which never fails
	key = "lk-" + base64.RawURLEncoding.EncodeToString(random)
	sum := digestOf(key)
	for i := range f.Keys {
		if f.Keys[i].Name == t.Name {
			f.Keys[i].Tenant = t
		}
	}
	f.Keys = append(f.Keys, entry{Tenant: t, Digest: digestPrefix + hex.EncodeToString(sum[:])})
	return key, f.write(path)
}

// Remove removes all keys of a tenant from the file and returns how many there were.
func Remove(path, name string) (removed int, err error) {
	f, err := readFile(path)
	if err != nil {
		return 0, err
	}
	kept := []entry{}
	for _, e := range f.Keys {
		if e.Name != name {
			kept = append(kept, e)
		}
	}
	removed = len(f.Keys) - len(kept)
	f.Keys = kept
	return removed, f.write(path)
}

// List returns the tenants of the file in its order, once for each key, with the first digits of the key's digest.
func List(path string) (list []Tenant, digests []string, err error) {
	f, err := readFile(path)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range f.Keys {
		list, digests = append(list, e.Tenant), append(digests, e.Digest[len(digestPrefix):len(digestPrefix)+12])
	}
	return list, digests, nil
}

// write replaces the file, so that readers see the whole old or the whole new one.
func (f *file) write(path string) error {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return disk.WriteFile(path, 0o600, func(w io.Writer) error {
		_, err := w.Write(append(text, '\n'))
		return err
	})
}
