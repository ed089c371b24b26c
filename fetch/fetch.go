package fetch

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"time"
)

// DefaultHub is the hub that is asked where the operator names no other one.
const DefaultHub = "https://huggingface.co"

// Options are what main builds a Fetcher from.
type Options struct {
	Hub    Hub
	Bucket Bucket
	Dir    string // where models are kept; made on first use

	// Progress hears how far a file has come, at most ten times a second and at its end; may be nil.
	Progress func(file string, done, total int64)
	// Note hears what a person who waits should know, such as another try; may be nil.
	Note func(string)

	Tries int           // at one request or file, in a row and without getting further; 0: 5
	Pause time.Duration // before the second try, doubled before each further one up to 30 s; 0: 1 s
	Stall time.Duration // how long the other end may send nothing; 0: 30 s
}

// Hub is where repositories are.
type Hub struct {
	Endpoint string // "": DefaultHub
	Token    string // sent to Endpoint alone; "": none
	Offline  bool   // do not ask: what is not on the disk does not exist
}

// Bucket is where buckets are, and who asks.
type Bucket struct {
	Endpoint string // "": Amazon's
	Region   string // "": asked for, at Amazon
	Key      string // access key id; "": anonymous
	Secret   string
	Session  string // of temporary keys
}

// Fetcher brings files. Its methods may be called from any goroutine; several Fetchers and processes may share
// one Dir.
type Fetcher struct {
	o   Options
	hub *web
	api *url.URL // of the hub
	s3  *bucket
}

// patience bounds how long another end may ask to be left alone before that is an error.
const patience = time.Minute

// New makes a Fetcher. It connects to nothing yet. The error names the variable of the environment that is wrong.
func New(o Options) (*Fetcher, error) {
	if o.Hub.Endpoint == "" {
		o.Hub.Endpoint = DefaultHub
	}
	if o.Tries <= 0 {
		o.Tries = 5
	}
	if o.Pause <= 0 {
		o.Pause = time.Second
	}
	if o.Stall <= 0 {
		o.Stall = 30 * time.Second
	}
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	if o.Note == nil {
		o.Note = func(string) {}
	}
	f := &Fetcher{o: o}
	var err error
	if f.api, err = endpoint(o.Hub.Endpoint); err != nil {
		return nil, fmt.Errorf("HF_ENDPOINT: %w", err)
	}
	f.hub = newWeb(f.api, o.Hub.Token, o.Stall)
	if f.s3, err = newBucket(o.Bucket, o.Stall); err != nil {
		return nil, fmt.Errorf("AWS_ENDPOINT_URL: %w", err)
	}
	return f, nil
}

// endpoint parses the address of a hub or of buckets.
func endpoint(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("%q is not an address such as https://host", text)
	}
	return u, nil
}

// retry calls try until it succeeds, fails for good, or has failed too often in a row. A try that fails and says
// that it got further than the one before it begins a new row.
func (f *Fetcher) retry(ctx context.Context, tries int, try func() (further bool, err error)) error {
	for failures := 0; ; {
		further, err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		wait, ok := waitFor(err)
		if further {
			failures = 0
		}
		if failures++; !ok || failures >= tries {
			return err
		}
		pause := min(f.o.Pause<<(failures-1), 30*time.Second)
		wait = max(wait, pause/2+rand.N(pause/2+1))
		f.o.Note(fmt.Sprintf("%v; trying again in %v", err, wait.Round(100*time.Millisecond)))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
