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
	Linked
	owner   string
	expires time.Time
}

// Linked is what a link is of.
type Linked struct {
	Adapter adapters.Ref
	File    string // of the adapter's files; "": all of them, in an archive
}

// Link returns texts by which Linked gives the files of a checkpoint until they expire: one for each file, "" for all of them in
// an archive.
func (s *Service) Link(who *Caller, p Path, files ...string) (texts []string, expires time.Time, err error) {
	ref, err := s.AdapterOf(who, "checkpoint", p.String())
	if err != nil {
		return nil, expires, err
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
	n := countOf(l.byText, who.Owner, func(o link) string { return o.owner })
	if more := len(files) - 1; full(who.Owner, n+more, len(l.byText)+more, maxLinks) {
		return nil, expires, fmt.Errorf("%w: %d downloads are prepared", ErrTooMany, n)
	}
	if l.byText == nil {
		l.byText = map[string]link{}
	}
	expires = now.Add(linkLife)
	for _, file := range files {
		text := newID(24)
		l.byText[text] = link{Linked{ref, file}, who.Owner, expires}
		texts = append(texts, text)
	}
	return texts, expires, nil
}

// Linked returns what a link is of.
func (s *Service) Linked(text string) (Linked, error) {
	s.links.mu.Lock()
	defer s.links.mu.Unlock()
	one, known := s.links.byText[text]
	if !known || s.links.now().After(one.expires) {
		return Linked{}, fmt.Errorf("%w: this download: it can be used for %v", ErrExpired, linkLife)
	}
	return one.Linked, nil
}
