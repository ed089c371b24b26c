package tenants

import (
	"fmt"
	"math"
	"sync"
	"time"
)

// Usage counts what a tenant uses, and holds it to its quota. Rates are token buckets that hold one minute's worth: a
// tenant may use it at once, and gets it back evenly over the next minute. Its methods may be called from any goroutine.
type Usage struct {
	now func() time.Time

	mu       sync.Mutex
	quota    Quota
	requests bucket
	tokens   bucket
	live     int // requests that are answered or wait
}

// bucket holds what may be used of a rate now. Tokens of an answer are charged when they have been made, so that level may
// fall below zero; the next request then waits until it is above.
type bucket struct {
	limit float64 // a minute's worth, and the most that it holds; 0: no bound
	level float64
	at    time.Time // when level was right
}

// set changes the limit. A bucket that had none before starts full.
func (b *bucket) set(limit int, now time.Time) {
	if b.limit == float64(limit) {
		return
	}
	b.fill(now)
	b.level = float64(limit) - (b.limit - b.level)
	if b.limit == 0 {
		b.level = float64(limit)
	}
	b.limit, b.at = float64(limit), now
}

// fill adds what has come since it was last filled.
func (b *bucket) fill(now time.Time) {
	b.level = min(b.limit, b.level+b.limit*now.Sub(b.at).Minutes())
	b.at = now
}

// after returns how long it takes until the level is at least need.
func (b *bucket) after(need float64) time.Duration {
	if b.limit == 0 || b.level >= need {
		return 0
	}
	return time.Duration(math.Ceil((need - b.level) / b.limit * float64(time.Minute)))
}

// Rate is where a rate stands, as OpenAI's x-ratelimit headers tell it.
type Rate struct {
	Limit     int           // a minute's worth; 0: no bound
	Remaining int           // that may be used at once
	Reset     time.Duration // until all of it may be
}

func (b *bucket) rate() Rate {
	return Rate{Limit: int(b.limit), Remaining: max(0, int(b.level)), Reset: b.after(b.limit)}
}

// LimitError says which quota a request would exceed. What it names are fields of Quota.
type LimitError struct {
	Quota string        // "requests_per_minute", ...
	Limit int           // its value
	After time.Duration // when to try again; 0: when one of the tenant's own requests has ended
}

func (e *LimitError) Error() string {
	if e.After > 0 {
		return fmt.Sprintf("the quota %s of this API key is %d: try again in %v", e.Quota, e.Limit, e.After.Round(time.Millisecond))
	}
	return fmt.Sprintf("the quota %s of this API key is %d: try again when one of its requests has ended", e.Quota, e.Limit)
}

// limit takes over a quota, which may have changed.
func (u *Usage) limit(q Quota) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.now()
	u.quota = q
	u.requests.set(q.RequestsPerMinute, now)
	u.tokens.set(q.TokensPerMinute, now)
}

// Request counts a request of any kind, and returns a *LimitError where the rate is used up.
func (u *Usage) Request() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.requests.fill(u.now())
	if after := u.requests.after(1); after > 0 {
		return &LimitError{"requests_per_minute", u.quota.RequestsPerMinute, after}
	}
	u.requests.level--
	return nil
}

// Generate lets a request for answers in, n of them, that together need as many places in the engine. It returns a
// *LimitError where the tenant has too many, or has used up its tokens. How many of them run at once is the engine's to
// bound. done ends it with the tokens that it really used,
// of prompts and answers; it may be called twice.
func (u *Usage) Generate(n int) (done func(tokens int), err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.tokens.fill(u.now())
	if after := u.tokens.after(1); after > 0 {
		return nil, &LimitError{"tokens_per_minute", u.quota.TokensPerMinute, after}
	}
	if most := u.quota.Queued; most > 0 && u.live+n > most {
		return nil, &LimitError{Quota: "queued", Limit: most}
	}
	u.live += n
	ended := false
	return func(tokens int) {
		u.mu.Lock()
		defer u.mu.Unlock()
		if ended {
			return
		}
		ended = true
		u.live -= n
		u.tokens.fill(u.now())
		u.tokens.level -= float64(tokens)
	}, nil
}

// Rates returns where the rates of requests and of tokens stand.
func (u *Usage) Rates() (requests, tokens Rate) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.now()
	u.requests.fill(now)
	u.tokens.fill(now)
	return u.requests.rate(), u.tokens.rate()
}
