package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/adapters/merge"
	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

// MergeAdapters makes an adapter out of registered ones, in the request's own goroutine: answers go on meanwhile.
// One merge runs at a time; a client that leaves ends its own, and a server that stops ends all.
func (s *Server) MergeAdapters(c *fiber.Ctx) error {
	var req openapi.MergeRequest
	if err := s.decodeKnown(c, &req); err != nil {
		return err
	}
	if s.draining.Load() {
		return errDraining()
	}
	if req.Name == "" {
		return refuse(codeMissing, "name", "is missing")
	}
	req.Name = s.owned(callerOf(c), req.Name)
	if err := errors.Join(s.checkName(req.Name, "name"), s.checkStored(callerOf(c), 0)); err != nil {
		return err
	}
	m, err := s.mergeOf(callerOf(c), &req)
	if err != nil {
		return err
	}
	ctx, stop := s.work(c)
	defer stop()
	select {
	case s.merging <- struct{}{}:
		defer func() { <-s.merging }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	info, err := s.store.Merge(ctx, req.Name, m)
	if err != nil {
		var field *peft.FieldError
		if errors.As(err, &field) {
			return withParam(field.Field, err)
		}
		return withParam("from", err)
	}
	return sendJSON(c, http.StatusCreated, adapterOf(info))
}

// mergeOf reads what is to be merged, and finds each of the adapters.
func (s *Server) mergeOf(who caller, req *openapi.MergeRequest) (adapters.Merge, error) {
	var check checker
	m := adapters.Merge{Options: merge.Options{Method: merge.Cat, Rank: check.integer("rank", req.Rank, 0, 1, 512)}}
	if check.err != nil {
		return m, check.err
	}
	if req.Method != nil {
		m.Method = *req.Method
	}
	if req.MajoritySignMethod != nil {
		m.MajoritySign = *req.MajoritySignMethod
	}
	if req.Density != nil {
		if m.Density = *req.Density; m.Density <= 0 || m.Density > 1 {
			return m, refuse(codeValue, "density", "is %g, it must be above 0 and at most 1", m.Density)
		}
	}
	if req.Seed != nil {
		if *req.Seed < 0 {
			return m, refuse(codeValue, "seed", "is %d, it must not be negative", *req.Seed)
		}
		m.Seed = uint64(*req.Seed)
	}
	if len(req.From) == 0 {
		return m, refuse(codeMissing, "from", "is missing: the adapters to merge")
	}
	if len(req.From) > merge.MaxInputs {
		return m, refuse(codeValue, "from", "has %d adapters, at most %d can be merged", len(req.From), merge.MaxInputs)
	}
	for i, part := range req.From {
		field := fmt.Sprintf("from[%d].", i)
		ref, err := adapters.ParseRef(s.qualifiedRef(who, part.Name))
		if err == nil {
			_, err = s.store.Get(ref)
		}
		if err != nil {
			return m, withParam(field+"name", err)
		}
		ref.Scale = check.number(field+"weight", part.Weight, 1, -1e9, 1e9)
		m.From = append(m.From, ref)
	}
	return m, check.err
}

// recipeOf puts a recipe in the API's shape.
func recipeOf(r *adapters.Recipe) *openapi.MergeRecipe {
	out := &openapi.MergeRecipe{Method: r.Method, From: []openapi.MergeIngredient{}}
	for _, i := range r.From {
		out.From = append(out.From, openapi.MergeIngredient{Name: i.Name, Version: i.Digest[:min(len(i.Digest), 12)], Weight: i.Weight})
	}
	if r.Density != 0 {
		out.Density = &r.Density
	}
	if r.MajoritySign != "" {
		out.MajoritySignMethod = &r.MajoritySign
	}
	if r.Rank != 0 {
		out.Rank = &r.Rank
	}
	if r.Seed != 0 {
		seed := int64(r.Seed)
		out.Seed = &seed
	}
	return out
}
