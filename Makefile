# The two commands: `make run` serves the demo base on 127.0.0.1:8080, `make test` proves it.
# This file is the one place that sets the C flags; a changed flag compiles llama.cpp anew (2 minutes).

GO    ?= go
MARCH ?= native
OLLAMA := $(shell $(GO) list -m -f '{{.Dir}}' github.com/ollama/ollama 2>/dev/null)

export CGO_ENABLED  ?= 1
export CGO_CPPFLAGS := -DGGML_USE_CPU_REPACK -I$(OLLAMA)/llama/llama.cpp/include -I$(OLLAMA)/llama/llama.cpp/src -I$(OLLAMA)/ml/backend/ggml/ggml/include -I$(OLLAMA)/ml/backend/ggml/ggml/src
export CGO_CFLAGS   := -O3 -march=$(MARCH)
export CGO_CXXFLAGS := -O3 -march=$(MARCH)

# Rooms without C: they build and test in seconds.
PURE := ./quant/... ./runtime ./runtime/runtimetest/... ./adapters/... ./openapi/... ./server/...

.PHONY: env
env: ## the CGO_* lines for an editor or a shell: eval "$(make -s env)"
	@echo 'export CGO_CPPFLAGS="$(CGO_CPPFLAGS)"'
	@echo 'export CGO_CFLAGS="$(CGO_CFLAGS)"'
	@echo 'export CGO_CXXFLAGS="$(CGO_CXXFLAGS)"'
