package tinker

import (
	"fmt"
	"sync"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
)

// Bounds of links.
const (
	maxLinks = 1024
	linkLife = 15 * time.Minute
)

// links are what checkpoints can be downloaded by without a key, for some minutes.
type links struct {
	now    func() time.Time
	mu     sync.Mutex
	byText map[string]link
}

type link struct {
	ref     adapters.Ref
	expires time.Time
}

// Link returns a text by which Linked gives a checkpoint's adapter until it expires.
func (s *Service) Link(who *Caller, p Path) (text string, expires time.Time, err error) {
	ref, err := s.AdapterOf(who, "checkpoint", p.String())
	if err != nil {
		return "", expires, err
	}
	l := &s.links
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for t, one := range l.byText {
		if now.After(one.expires) {
			delete(l.byText, t)
		}
	}
	if len(l.byText) >= maxLinks {
		return "", expires, fmt.Errorf("%w: %d downloads are prepared", ErrTooMany, maxLinks)
	}
	if l.byText == nil {
		l.byText = map[string]link{}
	}
	text, expires = newID(24), now.Add(linkLife)
	l.byText[text] = link{ref, expires}
	return text, expires, nil
}

// Linked returns the adapter that a link is of.
func (s *Service) Linked(text string) (adapters.Ref, error) {
	s.links.mu.Lock()
	defer s.links.mu.Unlock()
	one, known := s.links.byText[text]
	if !known || s.links.now().After(one.expires) {
		return adapters.Ref{}, fmt.Errorf("%w: this download: it can be used for %v", ErrExpired, linkLife)
	}
	return one.ref, nil
}
