// Package openapi states the API: openapi.yaml is its source, embedded as YAML, and the types and the
// Fiber server interface are generated from it. Fields that may be of several types (adapter, stop, prompt)
// are json.RawMessage in the types; package server reads them.
package openapi

import _ "embed"

//go:generate go tool oapi-codegen -config types.cfg.yaml openapi.yaml
//go:generate go tool oapi-codegen -config server.cfg.yaml openapi.yaml

// YAML is the description itself.
//
//go:embed openapi.yaml
var YAML []byte
