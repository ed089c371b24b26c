package server

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/training"
)

// PreviewTraining shows what a job would learn and what it would cost.
func (s *Server) PreviewTraining(c *fiber.Ctx) error {
	if _, err := s.queue(); err != nil {
		return err
	}
	return s.readTraining(c, s.preview)
}

// preview answers a request whose body has been read: a JSON object, and the files of a form.
func (s *Server) preview(c *fiber.Ctx, body []byte, form *trainForm) error {
	var f trainFields
	if err := decodeJSON(body, &f); err != nil {
		return err
	}
	if s.trainable != nil {
		if err := s.trainable(); err != nil {
			return err
		}
	}
	who := callerOf(c)
	r, err := s.trainingRequest(who, body, &f, form)
	defer r.close()
	if err != nil {
		return err
	}
	ctx, stop := s.work(c)
	defer stop()
	p, err := s.jobs.Preview(ctx, r.CreateRequest)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return r.locate(err)
	}
	out, err := previewOf(p)
	if err != nil {
		return err
	}
	if out.Speed != nil && !who.tenant.OwnsAdapter(p.Speed.Name) {
		out.Speed.Job = nil
	}
	return sendJSON(c, http.StatusOK, out)
}

// previewOf puts a preview in the API's shape.
func previewOf(p *training.Preview) (*openapi.TrainingPreview, error) {
	config, err := json.Marshal(p.Config)
	if err != nil {
		return nil, err
	}
	out := &openapi.TrainingPreview{
		Object: "training.preview", Config: config, Lines: p.Lines, EncodedLines: p.Encoded, Complete: p.Encoded == p.Lines,
		File: openapi.PreviewFile{Format: cmp.Or(string(p.Format), "json"), Bytes: p.Bytes, Forms: []openapi.PreviewLines{}},
		Data: dataOfJob(&p.Data), Faults: []openapi.PreviewFaults{}, Examples: make([]openapi.PreviewExample, len(p.Shown)),
		Steps: p.Steps, StepsPerEpoch: p.StepsPerEpoch, Tokens: p.Tokens,
	}
	for _, f := range p.Forms {
		out.File.Forms = append(out.File.Forms, openapi.PreviewLines{Keys: f.Keys, Lines: f.Lines})
	}
	for _, f := range p.Faults {
		out.Faults = append(out.Faults, openapi.PreviewFaults{Dataset: f.Dataset, Unit: cmp.Or(f.Unit, "line"), Count: f.Count, Reason: nullable(f.Reason), Lines: badLinesOf(f.Bad)})
	}
	for i, x := range p.Shown {
		shown := openapi.PreviewExample{Line: x.Line, Part: x.Part, Tokens: x.Tokens, Learned: x.Learned, Complete: x.Whole, Pieces: make([]openapi.PreviewPiece, len(x.Runs))}
		for k, run := range x.Runs {
			shown.Pieces[k] = openapi.PreviewPiece{Text: run.Text, Tokens: run.Tokens, Learned: run.Learned}
		}
		out.Examples[i] = shown
	}
	if m := p.Memory; m.Minimum > 0 || m.Refused != "" {
		out.Memory = &openapi.PreviewMemory{Bytes: m.Bytes, Minimum: m.Minimum, KeptLayers: m.Kept, Refused: nullable(m.Refused)}
		if m.Limit > 0 {
			out.Memory.Limit = &m.Limit
		}
	}
	if p.Speed != nil {
		out.Speed = &openapi.PreviewSpeed{TokensPerSecond: thousandths(p.Speed.TokensPerSecond), Job: &p.Speed.Job}
		minutes := thousandths(float64(p.Tokens) / p.Speed.TokensPerSecond / 60)
		out.EstimatedMinutes = &minutes
	}
	return out, nil
}
