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

// Options are the settings of a Fetcher.
type Options struct {
	Hub    Hub
	Bucket Bucket
	Dir    string // where models are kept; made on first use

	// Progress is called with the state of a download, at most ten times a second and at its end; may be nil.
	Progress func(file string, done, total int64)
	// Note is called with messages for a person who waits, for example before a request is repeated; may be nil.
	Note func(string)

	Tries int           // failures in a row, without progress, after which a request or file is given up; 0: 5
	Pause time.Duration // before the second try, doubled before each further one up to 30 s; 0: 1 s
	Stall time.Duration // how long a server may send nothing; 0: 30 s
}

// Hub says where the hub is and how to access it.
type Hub struct {
	Endpoint string // "": DefaultHub
	Token    string // sent to Endpoint alone; "": none
	Offline  bool   // make no requests: only what is on the disk already can be used
}

// Bucket says where the S3 service is and how to access it.
type Bucket struct {
	Endpoint string // "": Amazon's
	Region   string // "": the service is asked for it, at Amazon only
	Key      string // access key id; "": anonymous
	Secret   string
	Session  string // of temporary keys
}

// Fetcher downloads files. Its methods may be called from any goroutine; several Fetchers and processes may share
// one Dir.
type Fetcher struct {
	o   Options
	hub *web
	api *url.URL // of the hub
	s3  *bucket
}

// maxRetryAfter is the longest wait a server may ask for; a longer one is an error.
const maxRetryAfter = time.Minute

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

// retry calls try until it succeeds, returns an error that is not retryable, or has failed as often in a row as tries
// says. A failure with progress sets the count back.
func (f *Fetcher) retry(ctx context.Context, tries int, try func() (progress bool, err error)) error {
	for failures := 0; ; {
		progress, err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		wait, ok := retryDelay(err)
		if progress {
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
