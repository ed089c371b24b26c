package adapters

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Selection is the sum of versions that one request asked for. The versions are chosen when it is made: a name
// that moves on, or goes, does not change it. Without terms it is the base. It implements runtime.Adapters, and
// its methods may be called from any goroutine.
type Selection struct {
	cache *Cache
	refs  []SelectedTerm // as asked for, without those of scale 0
	want  []Info         // different digests, sorted by them
	scale []float32      // of want; none is 0
	key   string

	release  sync.Once
	counted  sync.Once // as a request
	held     []string  // digests
	unstored *resident // pinned until Release; nil for versions of the Store
}

// SelectedTerm is one adapter of a Selection, as a response names it.
type SelectedTerm struct {
	Name    string
	Version string
	Digest  string
	Scale   float32
}

var _ runtime.Adapters = (*Selection)(nil)

// Select finds the versions that refs name. The caller releases the Selection when its request has ended. The
// error is an UnknownError or wraps ErrName, ErrReference, ErrDamaged or ErrTooLarge.
func (c *Cache) Select(refs []Ref) (_ *Selection, err error) {
	if len(refs) > MaxTerms {
		return nil, fmt.Errorf("%w: %d adapters are asked for, at most %d can be summed", ErrReference, len(refs), MaxTerms)
	}
	s := &Selection{cache: c}
	defer func() {
		if err != nil {
			s.Release()
		}
	}()
	sums := make(map[string]float64)
	infos := make(map[string]Info)
	for _, ref := range refs {
		info, err := c.versions.take(ref)
		if err != nil {
			return nil, err
		}
		s.held = append(s.held, info.Digest)
		if ref.Scale == 0 {
			continue
		}
		sums[info.Digest] += float64(ref.Scale)
		infos[info.Digest] = info
		s.refs = append(s.refs, SelectedTerm{info.Name, info.Version, info.Digest, ref.Scale})
	}
	if err := s.canonicalise(sums, infos); err != nil {
		return nil, err
	}
	c.mu.Lock()
	err = c.tooLarge(s.want)
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return s, nil
}

// canonicalise writes the function that is computed in one way: one term for each digest, sorted, none zero.
func (s *Selection) canonicalise(sums map[string]float64, infos map[string]Info) error {
	var key []string
	for digest, info := range infos {
		if sum := float32(sums[digest]); math.IsInf(float64(sum), 0) {
			return fmt.Errorf("%w: the scales of %q sum to more than a number holds", ErrReference, info.Name)
		} else if sum != 0 {
			s.want = append(s.want, info)
		}
	}
	slices.SortFunc(s.want, func(a, b Info) int { return strings.Compare(a.Digest, b.Digest) })
	for _, info := range s.want {
		s.scale = append(s.scale, float32(sums[info.Digest]))
	}
	for _, p := range s.Parts() {
		key = append(key, p.Key)
	}
	s.key = strings.Join(key, "+")
	s.refs = slices.DeleteFunc(s.refs, func(t SelectedTerm) bool {
		return !slices.ContainsFunc(s.want, func(i Info) bool { return i.Digest == t.Digest })
	})
	slices.SortFunc(s.refs, func(a, b SelectedTerm) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version), cmp.Compare(a.Scale, b.Scale))
	})
	return nil
}

func formatScale(s float32) string { return strconv.FormatFloat(float64(s), 'g', -1, 32) }

// Key identifies the function: "digest*scale" of the terms, sorted and joined by "+".
func (s *Selection) Key() string { return s.key }

// Parts implements runtime.Adapters.
func (s *Selection) Parts() []runtime.Part {
	parts := make([]runtime.Part, len(s.want))
	for i, info := range s.want {
		parts[i] = runtime.Part{Key: info.Digest + "*" + formatScale(s.scale[i]), Invocation: info.Invocation}
	}
	return parts
}

// Flow returns the adapters' names, sorted and joined by "+".
func (s *Selection) Flow() string {
	var names []string
	for _, t := range s.refs {
		names = append(names, t.Name)
	}
	return strings.Join(slices.Compact(names), "+")
}

// Label says which versions answer: "pirate@1a2b3c4d5e6f", "json@...*0.5+pirate@..."; "" for the base.
func (s *Selection) Label() string {
	var parts []string
	for _, t := range s.refs {
		part := t.Name + "@" + t.Version
		if t.Scale != 1 {
			part += "*" + formatScale(t.Scale)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "+")
}

// Terms returns the adapters asked for, sorted by name, without those that change nothing.
func (s *Selection) Terms() []SelectedTerm { return slices.Clone(s.refs) }

// TryAcquire implements runtime.Adapters.
func (s *Selection) TryAcquire() (runtime.Mix, bool) {
	got, ok := s.cache.tryAcquire(s.want)
	if !ok {
		return runtime.Mix{}, false
	}
	return s.mix(got), true
}

// Acquire implements runtime.Adapters. Besides ctx's error it returns those of loading: they wrap ErrDamaged,
// runtime.ErrAdapter, ErrUnsupported, ErrTooLarge or ErrClosed. After Release it may find a version gone, which
// is an ErrUnknown.
func (s *Selection) Acquire(ctx context.Context) (runtime.Mix, error) {
	got, err := s.cache.acquire(ctx, s.want)
	if err != nil {
		return runtime.Mix{}, err
	}
	return s.mix(got), nil
}

// mix lends what was acquired.
func (s *Selection) mix(got []*resident) runtime.Mix {
	s.counted.Do(func() { s.cache.countRequest(got) })
	terms := make([]runtime.Term, len(got))
	for i, r := range got {
		terms[i] = runtime.Term{Packed: r.packed, Scale: s.scale[i]}
	}
	return runtime.NewMix(terms, func() { s.cache.unpin(got) })
}

// Release lets the Store remove versions that were deleted or never again asked for. What was acquired stays
// until its Mix is released. It may be called twice.
func (s *Selection) Release() {
	s.release.Do(func() {
		for _, digest := range s.held {
			s.cache.versions.drop(digest)
		}
		if s.unstored != nil {
			s.cache.unpin([]*resident{s.unstored})
		}
	})
}
