package server

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/fetch"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/tenants"
)

// ListAdapters lists every registered adapter at its current version.
func (s *Server) ListAdapters(c *fiber.Ctx) error {
	return sendAdapters(c, visible(callerOf(c), s.store.List()))
}

// GetAdapter gives one adapter, at its current version or at the one that is named.
func (s *Server) GetAdapter(c *fiber.Ctx, name string) error {
	ref, err := adapters.ParseRef(s.qualifiedRef(callerOf(c), name))
	if err != nil {
		return withParam("name", err)
	}
	info, err := s.store.Get(ref)
	if err != nil {
		return withParam("name", err)
	}
	return sendJSON(c, http.StatusOK, adapterOf(info))
}

// ListAdapterVersions lists the versions that can still be asked for.
func (s *Server) ListAdapterVersions(c *fiber.Ctx, name string) error {
	name = s.qualifiedName(callerOf(c), name)
	if err := adapters.CheckName(name); err != nil {
		return withParam("name", err)
	}
	list, err := s.store.Versions(name)
	if err != nil {
		return withParam("name", err)
	}
	return sendAdapters(c, list)
}

// PinAdapter keeps a version of an adapter however many come after it.
func (s *Server) PinAdapter(c *fiber.Ctx, name string) error {
	var req openapi.PinAdapter
	body, done, err := s.readBody(c, s.maxBody)
	defer done()
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(body)) > 0 { // it may be left out
		if err := decodeJSON(body, &req); err != nil {
			return err
		}
	}
	return s.pin(c, name, text(req.Version), true)
}

// UnpinAdapter ends that.
func (s *Server) UnpinAdapter(c *fiber.Ctx, name string, params openapi.UnpinAdapterParams) error {
	return s.pin(c, name, text(params.Version), false)
}

// pin pins or unpins a version.
func (s *Server) pin(c *fiber.Ctx, name, version string, pinned bool) error {
	return s.changeVersion(c, name, version, func(ref adapters.Ref) (adapters.Info, error) {
		return s.store.Pin(ref, pinned, adapters.Origin{Kind: adapters.ByRequest})
	})
}

// RollBackAdapter has an earlier version of an adapter answer again.
func (s *Server) RollBackAdapter(c *fiber.Ctx, name string) error {
	var req openapi.RollBackAdapter
	if err := s.decodeBody(c, &req); err != nil {
		return err
	}
	if req.Version == "" {
		return refuse(codeMissing, "version", "is missing")
	}
	return s.changeVersion(c, name, req.Version, func(ref adapters.Ref) (adapters.Info, error) {
		return s.store.RollBack(ref, adapters.Origin{Kind: adapters.ByRequest})
	})
}

// changeVersion calls change with a version, which the name has after its @, or version names, or is the current one.
func (s *Server) changeVersion(c *fiber.Ctx, name, version string, change func(adapters.Ref) (adapters.Info, error)) error {
	if s.draining.Load() {
		return errDraining()
	}
	param := "name"
	if version != "" {
		if strings.Contains(name, "@") {
			return refuse(codeValue, "version", "is given, and the name has a version too")
		}
		name, param = name+"@"+version, "version"
	}
	bare, rest, found := strings.Cut(name, "@")
	if name = s.owned(callerOf(c), bare); found {
		name += "@" + rest
	}
	ref, err := adapters.ParseRef(name)
	if err != nil {
		return withParam(param, err)
	}
	info, err := change(ref)
	if err != nil {
		return withParam(param, err)
	}
	return sendJSON(c, http.StatusOK, adapterOf(info))
}

// DeleteAdapter deletes an adapter.
func (s *Server) DeleteAdapter(c *fiber.Ctx, name string) error {
	name = s.owned(callerOf(c), name)
	if err := s.remove(name, "name"); err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, openapi.AdapterDeleted{Object: "adapter.deleted", Name: name, Deleted: true})
}

func (s *Server) remove(name, param string) error {
	if strings.Contains(name, "@") {
		return refuse(codeValue, param, "has a version: an adapter is deleted with all its versions")
	}
	err := adapters.CheckName(name)
	if err == nil {
		err = s.store.Delete(name, adapters.Origin{Kind: adapters.ByRequest})
	}
	if err != nil {
		return withParam(param, err)
	}
	return nil
}

// importPath registers a path or a source, for the two endpoints that take one, whose fields have different names.
func (s *Server) importPath(c *fiber.Ctx, name, path, nameParam, pathParam string) (adapters.Info, error) {
	switch {
	case name == "":
		return adapters.Info{}, refuse(codeMissing, nameParam, "is missing")
	case path == "":
		return adapters.Info{}, refuse(codeMissing, pathParam, "is missing")
	case s.draining.Load():
		return adapters.Info{}, errDraining()
	case !callerOf(c).tenant.May(tenants.Admin):
		return adapters.Info{}, refuse(codeNotAllowed, pathParam, "needs an API key with the role admin: paths and sources are read with the server's own rights; upload the adapter instead")
	}
	if err := s.checkName(name, nameParam); err != nil {
		return adapters.Info{}, err
	}
	read := s.importPlain
	if fetch.IsSource(path) || pathParam == "source" {
		read = s.fetch
	}
	info, err := read(c, name, path, pathParam)
	if err != nil {
		param := pathParam
		if errors.Is(err, adapters.ErrName) {
			param = nameParam
		}
		return info, withParam(param, err)
	}
	return info, nil
}

func (s *Server) importPlain(c *fiber.Ctx, name, path, _ string) (adapters.Info, error) {
	if s.importer == nil {
		return adapters.Info{}, fmt.Errorf("%w: this server has none", adapters.ErrPath)
	}
	ctx, stop := s.work(c)
	defer stop()
	return s.importer(ctx, name, path)
}

// LoadLoraAdapter is vLLM's way of registering an adapter.
func (s *Server) LoadLoraAdapter(c *fiber.Ctx) error {
	var req openapi.LoadLora
	if err := s.decodeBody(c, &req); err != nil {
		return err
	}
	if !flag(req.LoadInplace, false) && req.LoraName != "" {
		if _, err := s.store.Get(adapters.Ref{Name: req.LoraName, Scale: 1}); err == nil {
			return refuse(codeValue, "lora_name", "%q is taken; load_inplace replaces it", req.LoraName)
		}
	}
	if _, err := s.importPath(c, req.LoraName, req.LoraPath, "lora_name", "lora_path"); err != nil {
		return err
	}
	return c.SendString(fmt.Sprintf("Success: LoRA adapter '%s' added successfully.", req.LoraName))
}

// UnloadLoraAdapter is vLLM's way of forgetting one.
func (s *Server) UnloadLoraAdapter(c *fiber.Ctx) error {
	var req openapi.UnloadLora
	if err := s.decodeBody(c, &req); err != nil {
		return err
	}
	if req.LoraName == "" {
		return refuse(codeMissing, "lora_name", "is missing")
	}
	if err := s.remove(req.LoraName, "lora_name"); err != nil {
		return err
	}
	return c.SendString(fmt.Sprintf("Success: LoRA adapter '%s' removed successfully.", req.LoraName))
}

func sendAdapters(c *fiber.Ctx, list []adapters.Info) error {
	out := openapi.AdapterList{Object: "list", Data: make([]openapi.Adapter, len(list))}
	for i, info := range list {
		out.Data[i] = adapterOf(info)
	}
	return sendJSON(c, http.StatusOK, out)
}

// adapterOf puts an adapter in the API's shape. Where it came from stays the operator's: paths say too much.
func adapterOf(i adapters.Info) openapi.Adapter {
	a := openapi.Adapter{
		Object: "adapter", Name: i.Name, Version: i.Version, Digest: i.Digest, Current: i.Current, Pinned: i.Pinned, Rank: i.Rank, Alpha: i.Alpha,
		UseRslora: i.RSLoRA, UseDora: i.DoRA, Targets: i.Targets, Modules: i.Modules, Parameters: i.Parameters, Bytes: i.Bytes,
		Loaded: i.Loaded, MemoryBytes: i.Memory, Leases: i.Leases, Requests: i.Requests, CreatedAt: i.Created.Unix(), Origin: i.Origin.Kind, Warnings: i.Warnings,
	}
	if len(i.Invocation) > 0 {
		tokens := make([]int, len(i.Invocation))
		for k, t := range i.Invocation {
			tokens[k] = int(t)
		}
		a.AloraInvocationTokens = &tokens
	}
	if r := i.Origin.Merge; r != nil {
		a.Merge = recipeOf(r)
	}
	if a.Targets == nil {
		a.Targets = []string{}
	}
	if a.Warnings == nil {
		a.Warnings = []string{}
	}
	return a
}
