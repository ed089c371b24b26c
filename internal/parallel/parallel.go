// Package parallel runs the same function over the indices of a list on as many threads as the process may use.
package parallel

import (
	"cmp"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// Each calls do for every index from 0 to n-1, from at most GOMAXPROCS goroutines at a time, and waits for all of
// them. It returns the error of the lowest index that failed, so that the same input has the same error every time.
// A failure does not keep the other indices from being called.
func Each(n int, do func(i int) error) error {
	errs := make([]error, n)
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range n {
		g.Go(func() error {
			errs[i] = do(i)
			return nil
		})
	}
	_ = g.Wait() // no function of the group returns an error
	return cmp.Or(errs...)
}
