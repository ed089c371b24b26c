package route

import (
	"math"
	"time"
)

// Shares counts which part of the recent requests asks for each adapter. A request counts half after each half-life. Its memory is
// bounded: it keeps maxCounted adapters at most, and forgets those that are asked for least. One goroutine at a time may use it.
type Shares struct {
	halfLife time.Duration
	begin    time.Time
	counts   map[string]float64 // in units of a request at begin: newer ones count more
	total    float64
}

const (
	maxCounted = 1 << 16
	// priorRequests are counted for no adapter, so that the first few requests make none of them hot.
	priorRequests = 100
	// maxHalfLives is after how many half-lives the counts are brought back to small numbers.
	maxHalfLives = 100
)

// NewShares returns Shares without requests.
func NewShares(halfLife time.Duration) *Shares {
	return &Shares{halfLife: halfLife, counts: map[string]float64{}}
}

// Add counts a request and returns the part of the recent requests that ask for its adapter.
func (s *Shares) Add(adapter string, now time.Time) float64 {
	if s.begin.IsZero() {
		s.begin = now
	}
	weight := math.Exp2(now.Sub(s.begin).Seconds() / s.halfLife.Seconds())
	if weight > math.Exp2(maxHalfLives) {
		s.scale(1 / weight)
		s.begin, weight = now, 1
	}
	s.counts[adapter] += weight
	s.total += weight
	share := s.counts[adapter] / (s.total + priorRequests*weight)
	if len(s.counts) > maxCounted {
		s.forget()
	}
	return share
}

// Len returns how many adapters are counted.
func (s *Shares) Len() int { return len(s.counts) }

func (s *Shares) scale(by float64) {
	for name := range s.counts {
		s.counts[name] *= by
	}
	s.total *= by
}

// forget drops the adapters that are asked for least. What is left is fewer than half of maxCounted, since each
// has more than so large a part of the total.
func (s *Shares) forget() {
	least := s.total / (maxCounted / 2)
	for name, count := range s.counts {
		if count <= least {
			delete(s.counts, name)
		}
	}
}
