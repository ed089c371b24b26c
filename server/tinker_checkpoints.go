package server

import (
	"errors"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/tinker"
)

// TinkerWeightsInfo says what a checkpoint is of.
func (s *Server) TinkerWeightsInfo(c *fiber.Ctx) error {
	var body openapi.TinkerPath
	t, who, err := s.tinkerCall(c, &body)
	if err != nil {
		return err
	}
	k, err := t.Checkpoint(who, "tinker_path", body.TinkerPath)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, openapi.TinkerWeights{
		BaseModel: k.Model, IsLora: true, LoraRank: k.Config.Rank, TrainUnembed: k.Config.Unembed, TrainMlp: k.Config.MLP, TrainAttn: k.Config.Attn,
	})
}

// checkpointTypes are the kinds of checkpoints, as clients call them.
var checkpointTypes = map[string]string{tinker.KindTraining: "training", tinker.KindSampler: "sampler", tinker.KindExternal: "external"}

// checkpointOf puts a checkpoint in its shape.
func checkpointOf(k *tinker.Checkpoint) openapi.TinkerCheckpoint {
	out := openapi.TinkerCheckpoint{
		CheckpointId: k.Kind + "/" + k.Name, CheckpointType: checkpointTypes[k.Kind],
		Time: k.Created, TinkerPath: k.Path().String(), SizeBytes: k.Bytes, Public: k.Public,
		Adapter: adapters.Ref{Name: k.Adapter, Version: k.Digest[:min(12, len(k.Digest))]}.String(),
	}
	if k.Metadata != nil {
		out.UserMetadata = &k.Metadata
	}
	if !k.Expires.IsZero() {
		out.ExpiresAt = &k.Expires
	}
	return out
}

// checkpointOrNone is checkpointOf of a checkpoint that there may not be.
func checkpointOrNone(k *tinker.Checkpoint) *openapi.TinkerCheckpoint {
	if k == nil {
		return nil
	}
	out := checkpointOf(k)
	return &out
}

func checkpointsOf(list []*tinker.Checkpoint) []openapi.TinkerCheckpoint {
	out := []openapi.TinkerCheckpoint{}
	for _, k := range list {
		out = append(out, checkpointOf(k))
	}
	return out
}

// TinkerListAllCheckpoints lists the caller's checkpoints.
func (s *Server) TinkerListAllCheckpoints(c *fiber.Ctx, params openapi.TinkerListAllCheckpointsParams) error {
	t, err := s.tinkerService()
	if err != nil {
		return err
	}
	page, cursor, err := tinkerPage(t.Checkpoints(s.tinkerCaller(c), ""), params.Limit, params.Offset)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, openapi.TinkerCheckpointList{Checkpoints: checkpointsOf(page), Cursor: &cursor})
}

// TinkerListCheckpoints lists the checkpoints of one model.
func (s *Server) TinkerListCheckpoints(c *fiber.Ctx, id string) error {
	t, err := s.tinkerService()
	if err != nil {
		return err
	}
	who := s.tinkerCaller(c)
	if _, err := t.Run(who, id); err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, openapi.TinkerCheckpointList{Checkpoints: checkpointsOf(t.Checkpoints(who, id))})
}

func runOf(r *tinker.Run) openapi.TinkerRun {
	out := openapi.TinkerRun{
		TrainingRunId: r.ID, BaseModel: r.Model, ModelOwner: r.Owner, IsLora: true, LoraRank: r.Config.Rank, LastRequestTime: r.Used.UTC(),
		LastCheckpoint: checkpointOrNone(r.Training), LastSamplerCheckpoint: checkpointOrNone(r.Sampler),
	}
	if r.Metadata != nil {
		out.UserMetadata = &r.Metadata
	}
	return out
}

// TinkerListRuns lists the caller's models.
func (s *Server) TinkerListRuns(c *fiber.Ctx, params openapi.TinkerListRunsParams) error {
	t, err := s.tinkerService()
	if err != nil {
		return err
	}
	page, cursor, err := tinkerPage(t.Runs(s.tinkerCaller(c)), params.Limit, params.Offset)
	if err != nil {
		return err
	}
	out := openapi.TinkerRunList{TrainingRuns: []openapi.TinkerRun{}, Cursor: cursor}
	for i := range page {
		out.TrainingRuns = append(out.TrainingRuns, runOf(&page[i]))
	}
	return sendJSON(c, http.StatusOK, out)
}

// TinkerGetRun describes one model.
func (s *Server) TinkerGetRun(c *fiber.Ctx, id string, _ openapi.TinkerGetRunParams) error {
	t, err := s.tinkerService()
	if err != nil {
		return err
	}
	r, err := t.Run(s.tinkerCaller(c), id)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, runOf(&r))
}

// TinkerDeleteCheckpoint removes a checkpoint.
func (s *Server) TinkerDeleteCheckpoint(c *fiber.Ctx, id, kind, name string) error {
	t, err := s.tinkerService()
	if err == nil {
		err = t.Delete(s.tinkerCaller(c), tinker.Path{Run: id, Kind: kind, Name: name})
	}
	return sendNothing(c, err)
}

// TinkerPublishCheckpoint lets everybody with a key use a checkpoint.
func (s *Server) TinkerPublishCheckpoint(c *fiber.Ctx, id, kind, name string) error {
	return s.publishCheckpoint(c, tinker.Path{Run: id, Kind: kind, Name: name}, true)
}

// TinkerUnpublishCheckpoint takes that back.
func (s *Server) TinkerUnpublishCheckpoint(c *fiber.Ctx, id, kind, name string) error {
	return s.publishCheckpoint(c, tinker.Path{Run: id, Kind: kind, Name: name}, false)
}

func (s *Server) publishCheckpoint(c *fiber.Ctx, p tinker.Path, public bool) error {
	t, err := s.tinkerService()
	if err == nil {
		err = t.Publish(s.tinkerCaller(c), p, public)
	}
	return sendNothing(c, err)
}

// TinkerCheckpointTtl says when a checkpoint expires.
func (s *Server) TinkerCheckpointTtl(c *fiber.Ctx, id, kind, name string) error { //nolint:revive // the generated interface has this name
	var body openapi.TinkerTtl
	t, who, err := s.tinkerCall(c, &body)
	if err == nil {
		err = t.SetTTL(who, tinker.Path{Run: id, Kind: kind, Name: name}, body.TtlSeconds)
	}
	return sendNothing(c, err)
}

// tinkerRef returns the adapter that a path names as a model.
func (s *Server) tinkerRef(who caller, path string) (*adapters.Ref, error) {
	if s.tinker == nil {
		return nil, &refusal{status: http.StatusNotFound, param: "model", code: codeModel, message: "this server has no checkpoints of Tinker's API"}
	}
	ref, err := s.tinker.AdapterOf(&tinker.Caller{Owner: who.tenant.Owner()}, "model", path)
	if errors.Is(err, tinker.ErrUnknown) {
		return nil, &refusal{status: http.StatusNotFound, param: "model", code: codeModel, message: "model " + clipName(path) + " does not exist"}
	}
	if err != nil {
		return nil, withParam("model", err)
	}
	return &ref, nil
}
