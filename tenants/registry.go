package tenants

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"
)

// recheck is how long the file of keys is trusted before it is looked at again.
const recheck = time.Second

// Registry finds the tenant of a key. Its methods may be called from any goroutine.
type Registry struct {
	path string
	warn func(string)
	now  func() time.Time

	mu      sync.Mutex
	keys    map[[sha256.Size]byte]*Tenant
	usage   map[string]*Usage // by tenant; kept while the server runs, also over changes of the file
	changed time.Time         // modification time of the file that keys was read from
	size    int64
	checked time.Time
}

// Open reads a file of keys, which is read again when it changes. warn is called with one line for each change, and
// where a changed file cannot be used with the reason; then the last good one stays in use. It returns an error where the file cannot be read now
// or has no key.
func Open(path string, warn func(string)) (*Registry, error) {
	r := &Registry{path: path, warn: warn, now: time.Now, usage: map[string]*Usage{}}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if err := r.read(info); err != nil {
		return nil, err
	}
	return r, nil
}

// read takes the file's content over. The lock is held, or nobody else has r.
func (r *Registry) read(info os.FileInfo) error {
	f, err := readFile(r.path)
	if err != nil {
		return err
	}
	if len(f.Keys) == 0 {
		return fmt.Errorf("%s has no key: lorikeet keys add makes one", r.path)
	}
	keys, tenants := map[[sha256.Size]byte]*Tenant{}, map[string]*Tenant{}
	for i := range f.Keys {
		e := &f.Keys[i]
		sum, err := e.digest()
		if err != nil {
			return err
		}
		if tenants[e.Name] == nil {
			tenants[e.Name] = &e.Tenant
		}
		keys[sum] = tenants[e.Name]
	}
	r.keys, r.changed, r.size = keys, info.ModTime(), info.Size()
	return nil
}

// Find returns the tenant of a key and what it uses; false where there is none. A map by digests tells nothing of a key
// by the time that it takes: choosing a digest near another would mean inverting SHA-256.
func (r *Registry) Find(key string) (*Tenant, *Usage, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refresh()
	return r.withUsage(r.keys[digestOf(key)])
}

// Named returns the tenant of a name and what it uses; false where no key is its.
func (r *Registry) Named(name string) (*Tenant, *Usage, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refresh()
	for _, t := range r.keys {
		if t.Name == name {
			return r.withUsage(t)
		}
	}
	return nil, nil, false
}

// withUsage returns a tenant with what it uses; false where t is nil. The lock is held.
func (r *Registry) withUsage(t *Tenant) (*Tenant, *Usage, bool) {
	if t == nil {
		return nil, nil, false
	}
	u := r.usage[t.Name]
	if u == nil {
		u = &Usage{now: r.now}
		r.usage[t.Name] = u
	}
	u.limit(t.Quota)
	return t, u, true
}

// refresh reads the file again where it has changed. The lock is held.
func (r *Registry) refresh() {
	now := r.now()
	if now.Sub(r.checked) < recheck {
		return
	}
	r.checked = now
	info, err := os.Stat(r.path)
	if err == nil && info.ModTime().Equal(r.changed) && info.Size() == r.size {
		return
	}
	if err == nil {
		err = r.read(info)
	}
	if err != nil {
		r.changed = time.Time{} // so that it is tried again
		r.warn(fmt.Sprintf("the file of keys cannot be read again, and the last one stays in use: %v", err))
		return
	}
	r.warn(fmt.Sprintf("%s was read again: %d keys of %d tenants", r.path, len(r.keys), len(r.names())))
}

// names returns the tenants. The lock is held.
func (r *Registry) names() []string {
	names := map[string]bool{}
	for _, t := range r.keys {
		names[t.Name] = true
	}
	return slices.Sorted(maps.Keys(names))
}
