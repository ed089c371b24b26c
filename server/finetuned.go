package server

import (
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/adapters"
)

// This file reads OpenAI's names of fine-tuned models: ft:BASE:ORGANIZATION:SUFFIX:ID, where ID is that of the job without
// "ftjob-", and behind it ":ckpt-step-N" for a checkpoint.

// fineTuned returns the version that such a name means to the caller. It reports false for other names, and where there is no
// such job, or not of this base, or not with this suffix.
func (s *Server) fineTuned(who caller, name string) (adapters.Ref, bool) {
	rest, ok := strings.CutPrefix(name, "ft:")
	if !ok {
		return adapters.Ref{}, false
	}
	parts := strings.Split(rest, ":")
	label := ""
	if step, ok := strings.CutPrefix(parts[len(parts)-1], "ckpt-"); ok {
		label, parts = step, parts[:len(parts)-1]
	}
	n := len(parts)
	if n < 4 || !slices.Contains(s.ids, strings.Join(parts[:n-3], ":")) {
		return adapters.Ref{}, false
	}
	id := "ftjob-" + parts[n-1]
	ref, ok := s.store.JobVersion(id, label)
	suffix := ""
	if s.jobs != nil {
		if job, err := s.jobs.Get(id); err == nil {
			suffix = text(suffixOf(job.Request))
			if r := job.Result; !ok && label == "" && r != nil { // another job has made the same since
				ref, ok = adapters.Ref{Name: r.Name, Version: r.Version, Scale: 1}, true
			}
		}
	}
	if given := parts[n-2]; given != suffix && s.owned(who, given) != ref.Name && given != ref.Name {
		return adapters.Ref{}, false
	}
	return ref, ok && who.tenant.Sees(ref.Name)
}
