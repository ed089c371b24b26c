package tenants

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Role is something that a tenant may do.
type Role string

// The roles. Admin includes the others, and everything that concerns the whole server.
const (
	Admin Role = "admin" // every tenant's adapters, files and jobs, and names outside of its own namespace
	Train Role = "train" // add, merge and remove its own adapters; upload datasets and run jobs
	Chat  Role = "chat"  // ask the base and the adapters that it sees
)

// Quota bounds what a tenant uses. 0 is no bound of its own.
type Quota struct {
	RequestsPerMinute int   `json:"requests_per_minute,omitempty"`
	TokensPerMinute   int   `json:"tokens_per_minute,omitempty"`
	Concurrent        int   `json:"concurrent,omitempty"`   // requests that are answered at once
	Queued            int   `json:"queued,omitempty"`       // requests that are answered or wait
	StoredBytes       int64 `json:"stored_bytes,omitempty"` // of adapters and files
	Jobs              int   `json:"jobs,omitempty"`         // training jobs that have not ended
}

// Tenant is the owner of an API key. It is immutable. A nil Tenant is a server without keys: it may do everything.
type Tenant struct {
	Name     string   `json:"name"`
	Roles    []Role   `json:"roles"`
	Adapters []string `json:"adapters,omitempty"` // patterns of path.Match, over whole names, of others' adapters that it sees
	Priority int      `json:"priority,omitempty"` // requests of a higher one go first
	Quota    Quota    `json:"quota,omitzero"`
}

// maxName is how long a tenant's name may be: with an adapter's it must make an adapter's name.
const maxName = 48

// separator stands between a tenant's name and what it calls an adapter.
const separator = "."

// ErrTenant is wrapped by errors about a tenant's description.
var ErrTenant = errors.New("invalid tenant")

// check returns an error that wraps ErrTenant and names the field at fault.
func (t *Tenant) check() error {
	if err := checkName(t.Name); err != nil {
		return err
	}
	if len(t.Roles) == 0 {
		return fmt.Errorf("%w: %s has no roles: admin, train and chat are the roles that there are", ErrTenant, t.Name)
	}
	for _, r := range t.Roles {
		if r != Admin && r != Train && r != Chat {
			return fmt.Errorf("%w: %s has the role %q: admin, train and chat are the roles that there are", ErrTenant, t.Name, r)
		}
	}
	for _, pattern := range t.Adapters {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("%w: %s has the adapter pattern %q: %w", ErrTenant, t.Name, pattern, err)
		}
	}
	for _, q := range []struct {
		name  string
		value int64
	}{
		{"requests_per_minute", int64(t.Quota.RequestsPerMinute)}, {"tokens_per_minute", int64(t.Quota.TokensPerMinute)},
		{"concurrent", int64(t.Quota.Concurrent)}, {"queued", int64(t.Quota.Queued)}, {"stored_bytes", t.Quota.StoredBytes},
		{"jobs", int64(t.Quota.Jobs)},
	} {
		if q.value < 0 {
			return fmt.Errorf("%w: %s has the quota %s of %d, which is negative", ErrTenant, t.Name, q.name, q.value)
		}
	}
	return nil
}

// checkName returns an error unless name is 1 to 48 of a-z 0-9 _ - and starts with a letter or a digit. A dot is not
// among them: it ends the namespace.
func checkName(name string) error {
	ok := name != "" && len(name) <= maxName && name[0] != '-' && name[0] != '_'
	for _, c := range name {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	}
	if !ok {
		return fmt.Errorf("%w: the name %q is not 1 to %d of a-z 0-9 _ -, the first a letter or digit", ErrTenant, name, maxName)
	}
	return nil
}

// May reports whether the tenant has a role.
func (t *Tenant) May(r Role) bool {
	return t == nil || slices.Contains(t.Roles, r) || slices.Contains(t.Roles, Admin)
}

// Owns reports whether something belongs to the tenant: what it made itself, and for an admin everything. owner is the
// name of the tenant that made it, "" for what was made without a key.
func (t *Tenant) Owns(owner string) bool {
	return t.May(Admin) || owner == t.Name
}

// OwnsAdapter reports whether the tenant may change the adapter of this whole name.
func (t *Tenant) OwnsAdapter(name string) bool {
	return t.May(Admin) || strings.HasPrefix(name, t.Name+separator)
}

// Sees reports whether the tenant may use the adapter of this whole name.
func (t *Tenant) Sees(name string) bool {
	if t.OwnsAdapter(name) {
		return true
	}
	return slices.ContainsFunc(t.Adapters, func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	})
}

// QualifiedName returns the name that an adapter of the tenant is registered by. It adds the tenant's namespace to a name,
// but not to an admin's names or to names that begin with the tenant's namespace.
func (t *Tenant) QualifiedName(name string) string {
	if t.OwnsAdapter(name) {
		return name
	}
	return t.Name + separator + name
}

// Owner returns the tenant's name, "" for a nil Tenant.
func (t *Tenant) Owner() string {
	if t == nil {
		return ""
	}
	return t.Name
}
