package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// web sends requests to a hub over HTTP. It follows redirects itself: net/http passes an Authorization header on to the
// same host name on another port and to subdomains, and the token must be sent to the hub's own origin only.
type web struct {
	client *http.Client
	home   *url.URL
	token  string
	stall  time.Duration
}

const (
	userAgent    = "lorikeet"
	maxRedirects = 10
)

// newTransport returns a transport whose connections have timeouts. It uses the proxies that the environment names.
func newTransport(stall time.Duration) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableCompression = true // a range of the compressed bytes is not a range of the file
	t.ResponseHeaderTimeout = stall
	return t
}

func newWeb(home *url.URL, token string, stall time.Duration) *web {
	return &web{home: home, token: token, stall: stall, client: &http.Client{
		Transport:     newTransport(stall),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// answer is the response to a request, after all redirects.
type answer struct {
	*http.Response
	home http.Header // of the last response from the hub itself, which describes the file; other hosts only send it
}

// do sends a request for u and follows redirects. Where sameOriginOnly is set, it returns the first redirect to another
// origin as the answer. The caller closes the Body, also where the status is that of an error.
func (w *web) do(ctx context.Context, method string, u *url.URL, header http.Header, sameOriginOnly bool) (*answer, error) {
	a := &answer{}
	for range maxRedirects {
		req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
		if err != nil {
			return nil, fmt.Errorf("%w: %s redirects to an invalid address", ErrUnreachable, w.home.Host)
		}
		for name, values := range header {
			req.Header[name] = values
		}
		req.Header.Set("User-Agent", userAgent)
		home := sameOrigin(u, w.home)
		if home && w.token != "" {
			req.Header.Set("Authorization", "Bearer "+w.token)
		}
		if a.Response, err = w.client.Do(req); err != nil { //nolint:bodyclose // the answer's, or closed below
			return nil, w.failed(ctx, u, err)
		}
		if home {
			a.home = a.Header
		}
		next, err := w.redirect(a.Response, u)
		if err != nil || next == nil || sameOriginOnly && !sameOrigin(next, w.home) {
			if err != nil {
				a.Body.Close()
			}
			return a, err
		}
		a.Body.Close()
		u = next
	}
	return nil, fmt.Errorf("%w: %s redirects more than %d times", ErrUnreachable, w.home.Host, maxRedirects)
}

// failed returns the error of a request that has no response.
func (w *web) failed(ctx context.Context, u *url.URL, err error) error {
	err = withoutURL(ctx, err)
	if ctx.Err() != nil && !errors.Is(err, errStalled) {
		return err
	}
	return retryable(fmt.Errorf("%w: %s: %w", ErrUnreachable, u.Host, err))
}

// redirect returns the address that a response redirects to, or nil where it is no redirect.
func (w *web) redirect(r *http.Response, from *url.URL) (*url.URL, error) {
	switch r.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, nil
	}
	location := r.Header.Get("Location")
	to, err := from.Parse(location)
	switch {
	case err != nil || location == "" || to.Host == "" || to.Scheme != "http" && to.Scheme != "https":
		return nil, fmt.Errorf("%w: %s redirects to an invalid address", ErrUnreachable, from.Host)
	case from.Scheme == "https" && to.Scheme != "https":
		return nil, fmt.Errorf("%w: %s redirects to %s without encryption", ErrUnreachable, from.Host, to.Host)
	}
	return to, nil
}

// sameOrigin reports whether a and b have the same scheme, host and port.
func sameOrigin(a, b *url.URL) bool {
	port := func(u *url.URL) string {
		if p := u.Port(); p != "" {
			return p
		}
		return map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

// errStalled ends a transfer in which nothing was received for too long.
var errStalled = errors.New("nothing was received for too long")

// stallReader reads a body and cancels the request where nothing is received for the time stall.
type stallReader struct {
	body   io.ReadCloser
	timer  *time.Timer
	stall  time.Duration
	cancel context.CancelCauseFunc
}

func newStallReader(body io.ReadCloser, stall time.Duration, cancel context.CancelCauseFunc) *stallReader {
	return &stallReader{body: body, stall: stall, cancel: cancel, timer: time.AfterFunc(stall, func() { cancel(errStalled) })}
}

func (p *stallReader) Read(b []byte) (int, error) {
	n, err := p.body.Read(b)
	p.timer.Reset(p.stall)
	return n, err
}

func (p *stallReader) Close() error {
	p.timer.Stop()
	p.cancel(context.Canceled)
	return p.body.Close()
}

// status turns the status of an answer that is not a success into an error. what is the file or repository that the
// request was for.
func (w *web) status(a *answer, what string) error {
	code, says := a.home.Get("X-Error-Code"), ""
	if m := clean(a.home.Get("X-Error-Message")); m != "" {
		says = ": " + m
	}
	fail := func(is error, hint string) error {
		return fmt.Errorf("%w: %s: %s answers %d%s%s", is, what, a.Request.URL.Host, a.StatusCode, says, hint)
	}
	elsewhere := !sameOrigin(a.Request.URL, w.home) // a signed address that has expired: the hub gives a new one
	switch s := a.StatusCode; {
	case s == http.StatusTooManyRequests:
		return &retryableError{fail(ErrBusy, ""), retryAfter(a.Header)}
	case s >= 500:
		return &retryableError{fail(ErrUnreachable, ""), retryAfter(a.Header)}
	case elsewhere && (s == http.StatusForbidden || s == http.StatusUnauthorized || s == http.StatusNotFound || s == http.StatusBadRequest):
		return retryable(fail(ErrUnreachable, ""))
	case code == "RepoNotFound" || s == http.StatusUnauthorized && code != "GatedRepo" && w.token == "":
		return fail(ErrNotFound, ", or it is private: check the name, and set HF_TOKEN where it needs one")
	case code == "GatedRepo" && w.token == "":
		return fail(ErrDenied, "; accept its terms on the hub and set HF_TOKEN")
	case code == "GatedRepo":
		return fail(ErrDenied, "; accept its terms on the hub with the account of HF_TOKEN")
	case s == http.StatusUnauthorized, s == http.StatusForbidden && w.token != "":
		return fail(ErrDenied, "; the hub does not accept HF_TOKEN for it")
	case s == http.StatusForbidden:
		return fail(ErrDenied, "; set HF_TOKEN where it needs one")
	case s == http.StatusNotFound, s == http.StatusGone, code == "RevisionNotFound", code == "EntryNotFound":
		return fail(ErrNotFound, "")
	}
	return fail(ErrUnreachable, "")
}

// clean makes a text that a server sent fit to be shown: printable and short.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "..."
	}
	return s
}

// retryAfter returns how long the server asks to wait, from Retry-After or, as the Hugging Face Hub sends it, from the t
// of RateLimit.
func retryAfter(h http.Header) time.Duration {
	if text := h.Get("Retry-After"); text != "" {
		if n, err := strconv.ParseUint(text, 10, 31); err == nil {
			return time.Duration(n) * time.Second
		}
		if at, err := http.ParseTime(text); err == nil {
			return max(0, time.Until(at))
		}
	}
	for _, word := range strings.FieldsFunc(h.Get("RateLimit"), func(r rune) bool { return r == ';' || r == ',' }) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(word), "t="); ok {
			if n, err := strconv.ParseUint(text, 10, 31); err == nil {
				return time.Duration(n) * time.Second
			}
		}
	}
	return 0
}
