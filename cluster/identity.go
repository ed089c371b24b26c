package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// identityFile says, in the folder of an embedded NATS server, which node it belongs to.
const identityFile = "node.json"

// identity is what must stay the same of a node: what NATS finds in its folder belongs to a member of that name, or to a
// server without a cluster. It would remove what belongs to another.
type identity struct {
	Name  string `json:"name"`
	Alone bool   `json:"alone"`
}

// keepIdentity records which node a folder belongs to, and returns an ErrOptions where it belongs to another, or to the same
// in another role.
func keepIdentity(o *Options) error {
	mine := identity{o.Name, len(o.Embedded.otherPeers()) == 0}
	path := filepath.Join(o.Embedded.Dir, identityFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return disk.WriteFile(path, 0o600, func(w io.Writer) error { return json.NewEncoder(w).Encode(mine) })
	}
	var there identity
	if err == nil {
		err = json.Unmarshal(text, &there)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", path, err)
	case there.Alone != mine.Alone && there.Alone:
		return fmt.Errorf("%w: %s holds the adapters of a node that was alone, which a cluster of several would remove: export them from it, start this node with another folder, and upload them", ErrOptions, o.Embedded.Dir)
	case there.Alone != mine.Alone:
		return fmt.Errorf("%w: %s belongs to a node of several, and now no other node is named", ErrOptions, o.Embedded.Dir)
	case there.Name != mine.Name && !mine.Alone:
		return fmt.Errorf("%w: %s belongs to node %s, and this one is named %s: a node keeps its name", ErrOptions, o.Embedded.Dir, there.Name, mine.Name)
	}
	return nil
}
