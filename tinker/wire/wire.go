// Package wire has the binary messages of Tinker's API: wire.proto states them, wire.pb.go is generated from it.
package wire

//go:generate go run ./generate
