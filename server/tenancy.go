package server

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/tenants"
	"github.com/lorikeet-ai/lorikeet/training"
)

// This file is what the keys of --keys mean: roles, names in a tenant's namespace, quotas. Without such a file, and for the
// keys of --api-key, the caller has no tenant, and nothing here changes anything.

// caller is who makes a request.
type caller struct {
	tenant *tenants.Tenant // nil: everything is allowed
	usage  *tenants.Usage
	batch  bool // the request is a line of a batch
}

// request returns what a request to the engine has because of who makes it.
func (who caller) request() runtime.Request {
	r := runtime.Request{Tenant: who.tenant.Owner()}
	if t := who.tenant; t != nil {
		r.Priority, r.MaxConcurrent = t.Priority, t.Quota.Concurrent
	}
	if who.batch {
		r.Priority -= batchPriority
		r.Deadline = time.Now().Add(24 * time.Hour) // it may wait for as long as there are others
	}
	return r
}

// callerKey is where authorize leaves the caller.
const callerKey = "caller"

// callerOf returns who makes the request.
func callerOf(c *fiber.Ctx) caller {
	who, _ := c.Locals(callerKey).(caller)
	return who
}

// admit checks a tenant's role and the rate of its requests, and tells where its rates stand.
func (s *Server) admit(c *fiber.Ctx, who caller) error {
	c.Locals(callerKey, who)
	if who.tenant == nil {
		return nil
	}
	if role := roleFor(c.Method(), c.Path()); !who.tenant.May(role) {
		return &refusal{status: http.StatusForbidden, code: "role_needed",
			message: "the API key does not have the role " + string(role) + ", which " + c.Method() + " " + strings.Clone(c.Path()) + " needs"}
	}
	err := who.usage.Request()
	requests, tokens := who.usage.Rates()
	writeRates(c, "requests", requests)
	writeRates(c, "tokens", tokens)
	return err
}

// roleFor returns the role that a request needs.
func roleFor(method, path string) tenants.Role {
	under := func(prefixes ...string) bool {
		for _, p := range prefixes {
			if path == p || strings.HasPrefix(path, p+"/") {
				return true
			}
		}
		return false
	}
	switch {
	case under("/v1/load_lora_adapter", "/v1/unload_lora_adapter"):
		return tenants.Admin // its paths are those of the server's machine
	case under("/adapters/train", "/v1/files", "/v1/fine_tuning", "/v1/batches", "/api/v1"):
		return tenants.Train
	case under("/adapters", "/v1/models", "/lora-adapters") && method != http.MethodGet && method != http.MethodHead:
		return tenants.Train
	}
	return tenants.Chat
}

// writeRates sets OpenAI's headers of a rate that is bounded.
func writeRates(c *fiber.Ctx, what string, r tenants.Rate) {
	if r.Limit == 0 {
		return
	}
	c.Set("x-ratelimit-limit-"+what, strconv.Itoa(r.Limit))
	c.Set("x-ratelimit-remaining-"+what, strconv.Itoa(r.Remaining))
	c.Set("x-ratelimit-reset-"+what, r.Reset.Round(time.Millisecond).String())
}

// rateLimitError makes the answer to a request beyond a quota.
func rateLimitError(c *fiber.Ctx, e *tenants.LimitError) openapi.Error {
	after := max(1, int(math.Ceil(e.After.Seconds())))
	c.Set(fiber.HeaderRetryAfter, strconv.Itoa(after))
	return newError(rateFault, "rate_limit_exceeded", "", e.Error())
}

// qualifiedName returns the name that an adapter is registered by, of a name that the caller uses: its own adapter goes before one
// of others that it sees. A name that it does not see becomes one in its own namespace, where there is nothing.
func (s *Server) qualifiedName(who caller, name string) string {
	t := who.tenant
	own := t.QualifiedName(name)
	if own == name || !t.Sees(name) {
		return own
	}
	if _, err := s.store.Get(adapters.Ref{Name: own, Scale: 1}); err == nil {
		return own
	}
	return name
}

// qualifiedRef is qualifiedName for a name that may have a version.
func (s *Server) qualifiedRef(who caller, name string) string {
	bare, version, found := strings.Cut(name, "@")
	if bare = s.qualifiedName(who, bare); found {
		return bare + "@" + version
	}
	return bare
}

// owned returns the qualified name of an adapter that the caller wants to make, change or remove.
func (s *Server) owned(who caller, name string) string { return who.tenant.QualifiedName(name) }

// visible leaves out what the caller does not see.
func visible(who caller, list []adapters.Info) []adapters.Info {
	if who.tenant == nil {
		return list
	}
	var seen []adapters.Info
	for _, i := range list {
		if who.tenant.Sees(i.Name) {
			seen = append(seen, i)
		}
	}
	return seen
}

// hideOthers takes the names that the caller does not see out of an error.
func hideOthers(who caller, err error) {
	var unknown *adapters.UnknownError
	if who.tenant == nil || !errors.As(err, &unknown) {
		return
	}
	var seen []string
	for _, name := range unknown.Close {
		if who.tenant.Sees(name) {
			seen = append(seen, name)
		}
	}
	unknown.Close = seen
}

// ownJob returns an error that wraps training.ErrUnknown unless the job is the caller's: its adapter is.
func ownJob(who caller, j *training.Job, err error) error {
	if err != nil || who.tenant.OwnsAdapter(j.Name) {
		return err
	}
	return fmt.Errorf("%w: %q", training.ErrUnknown, j.ID)
}

// checkStored returns an error where the caller may not store so many bytes more. 0 asks whether it may store any.
func (s *Server) checkStored(who caller, more int64) error {
	t := who.tenant
	if t == nil || t.Quota.StoredBytes == 0 {
		return nil
	}
	used := int64(0)
	for _, i := range s.store.List() {
		if strings.HasPrefix(i.Name, t.Name+".") {
			used += i.Bytes
		}
	}
	if s.files != nil {
		used += s.files.Bytes(t.Name)
	}
	if s.tinker != nil {
		used += s.tinker.Bytes(t.Name)
	}
	if used+more <= t.Quota.StoredBytes && used < t.Quota.StoredBytes {
		return nil
	}
	return &refusal{status: http.StatusForbidden, param: "file", code: "quota_exceeded",
		message: "the quota stored_bytes of this API key is " + strconv.FormatInt(t.Quota.StoredBytes, 10) + ": " + strconv.FormatInt(used, 10) +
			" bytes are stored, and " + strconv.FormatInt(more, 10) + " more do not fit"}
}

// checkJobs returns an error where the caller has as many jobs as it may.
func (s *Server) checkJobs(who caller) error {
	t := who.tenant
	if t == nil || t.Quota.Jobs == 0 {
		return nil
	}
	list, _, err := s.jobs.ListWhere(func(j *training.Job) bool { return t.OwnsAdapter(j.Name) && !j.Status.Ended() }, "", 0)
	if err != nil {
		return err
	}
	if len(list) >= t.Quota.Jobs {
		return &tenants.LimitError{Quota: "jobs", Limit: t.Quota.Jobs}
	}
	return nil
}

// admitAnswers lets a request for answers in, n of them. done ends it, with what its streams used.
func admitAnswers(who caller, n int) (done func([]*runtime.Stream), err error) {
	if who.usage == nil {
		return func([]*runtime.Stream) {}, nil
	}
	leave, err := who.usage.Generate(n)
	if err != nil {
		return nil, err
	}
	return func(streams []*runtime.Stream) {
		tokens := 0
		for _, s := range streams {
			u := s.Usage()
			tokens += u.Prompt - u.Cached + u.Completion
		}
		leave(tokens)
	}, nil
}

// asksOnly reports whether a POST to a path changes nothing.
func asksOnly(path string) bool {
	if strings.HasPrefix(path, tinkerPath) { // of the many calls of a client, those that change what is stored
		return !strings.Contains(path, "/save_weights") && !strings.HasSuffix(path, "/copy_weights") && !strings.Contains(path, "/checkpoints/")
	}
	return slices.Contains([]string{"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/messages", "/v1/messages/count_tokens",
		"/v1/responses", "/api/chat", "/api/generate", "/api/embed", "/api/show", "/tokenize", "/detokenize", "/apply-template",
		"/adapters/train/preview", "/v1/fine_tuning/alpha/graders/run", "/v1/fine_tuning/alpha/graders/validate"}, path)
}

// audit logs a request that changed something, with who made it.
func (s *Server) audit(c *fiber.Ctx, status int) {
	path := c.Path()
	reads := c.Method() == http.MethodGet || c.Method() == http.MethodHead || c.Method() == http.MethodOptions
	if reads || asksOnly(path) || status >= 400 {
		return
	}
	s.log.Info().Bool("audit", true).Str("request", requestID(c)).Str("tenant", callerOf(c).tenant.Owner()).Str("method", c.Method()).Str("path", path).
		Int("status", status).Str("from", c.IP()).Msg("state changed")
}
