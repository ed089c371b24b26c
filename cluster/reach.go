package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
)

// This file finds out whether the cluster is there.

// ask asks the cluster, again and again, whether it is there.
func (n *Node) ask(ctx context.Context) {
	defer close(n.asked)
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := n.askStreams(ctx)
		if ctx.Err() != nil {
			return
		}
		n.noteAnswer(err)
	}
}

// nodeRecord is what a node writes about itself, again and again.
type nodeRecord struct {
	Written time.Time `json:"written"` // by the node's clock
}

// nodeKey is where a node writes about itself. A key is divided by dots, so a name's dots are written otherwise.
func nodeKey(name string) string { return "nodes." + strings.ReplaceAll(name, ".", "=") }

// askStreams returns an error unless a majority takes what this node writes, and all streams that it needs have a leader.
// A leader alone could still answer that it is one.
func (n *Node) askStreams(ctx context.Context) error {
	n.mu.Lock()
	streams := slices.Clone(n.streams)
	n.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	text, err := json.Marshal(nodeRecord{time.Now()})
	if err != nil {
		return err
	}
	if _, err := n.base.Put(ctx, nodeKey(n.o.Name), text); err != nil {
		return err
	}
	for _, stream := range streams {
		if _, err := n.js.Stream(ctx, stream); err != nil {
			return err
		}
	}
	return nil
}

// noteAnswer notes what an attempt to ask the cluster came to, and logs when that changes.
func (n *Node) noteAnswer(err error) {
	n.mu.Lock()
	before := n.unreachable()
	if err == nil {
		n.answered = time.Now()
	}
	n.failed = err
	now := n.unreachable()
	n.mu.Unlock()
	switch {
	case before == nil && now != nil:
		n.o.Log.Error().Err(now).Msg("the cluster cannot be reached: adapters that are on this node are served, nothing is stored")
	case before != nil && now == nil:
		n.o.Log.Info().Msg("the cluster is reached again")
	}
}

// unreachable returns why the cluster is not there. n.mu is held.
func (n *Node) unreachable() error {
	if n.failed == nil || time.Since(n.answered) < n.o.Patience {
		return nil
	}
	return fmt.Errorf("%w: no answer for %s: %w", adapters.ErrUnavailable, time.Since(n.answered).Round(time.Second), n.failed)
}

// lost returns Err where it has been so for long that what is asked now should fail soon.
func (n *Node) lost() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if time.Since(n.answered) < n.o.Patience*3/2 {
		return nil
	}
	return n.unreachable()
}

// Err returns why the cluster cannot be reached, an adapters.ErrUnavailable, or nil.
func (n *Node) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.unreachable()
}
