// Package backends has no Go code but its tests: beside it lie the scripts that build the back ends of ggml for GPUs out of
// the sources in the module cache, with NF4's codebook where IQ4_NL has its own.
package backends
