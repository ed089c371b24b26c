package adapters_test

import (
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/adapters/storetest"
)

func TestFolderPassesTheSuite(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Opener {
		return func(t *testing.T, dir string) adapters.Storage {
			return adapters.NewFolder(dir, func(s string) { t.Log(s) })
		}
	})
}
