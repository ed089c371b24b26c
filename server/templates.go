package server

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/chat"
)

// maxTemplates is how many adapters' templates are kept compiled.
const maxTemplates = 64

// templates compiles the chat templates that adapters came with.
type templates struct {
	base  *chat.Template
	store *adapters.Store

	mu       sync.Mutex
	compiled *simplelru.LRU[string, *chat.Template] // by the version's digest; nil: it has none
}

func newTemplates(base *chat.Template, store *adapters.Store) *templates {
	compiled, _ := simplelru.NewLRU[string, *chat.Template](maxTemplates, nil) // a size above 0 is no error
	return &templates{base: base, store: store, compiled: compiled}
}

// of returns the template for requests to a model: that of the first of its adapters that came with one, or else the base's.
func (t *templates) of(m *model) (*chat.Template, error) {
	if m.selection == nil {
		return t.base, nil
	}
	for _, term := range m.selection.Terms() {
		own, err := t.ofVersion(term.Digest)
		if own != nil || err != nil {
			return own, err
		}
	}
	return t.base, nil
}

// ofVersion returns the template of a version that is held, nil where it has none.
func (t *templates) ofVersion(digest string) (*chat.Template, error) {
	t.mu.Lock()
	own, known := t.compiled.Get(digest)
	t.mu.Unlock()
	if known {
		return own, nil
	}
	sources, err := t.store.ChatTemplates(digest)
	if err != nil {
		return nil, err
	}
	if sources != (adapters.Templates{}) {
		if own, err = t.base.Other(sources.Default, sources.Tools); err != nil {
			return nil, err // it was compiled when the adapter was registered
		}
	}
	t.mu.Lock()
	t.compiled.Add(digest, own)
	t.mu.Unlock()
	return own, nil
}
