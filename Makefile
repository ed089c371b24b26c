# The two commands: `make run` serves the demo base on 127.0.0.1:8080, `make test` proves it.
# This file is the one place that sets the C flags; a changed flag compiles llama.cpp anew (2 minutes on 2 cores).

GO    ?= go
MARCH ?= native
GOLANGCI_LINT ?= $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# $(call need,PROGRAM,HOW TO GET IT): stops with a plain sentence when a prerequisite is missing.
need = $(if $(shell command -v $(firstword $(1)) 2>/dev/null),,$(error $(1) not found: $(2)))
$(call need,$(GO),install Go 1.26 or newer, https://go.dev/doc/install)
$(call need,gcc,install a C compiler, for example: apt-get install gcc)
$(call need,g++,install a C++ compiler, for example: apt-get install g++)

# llama.cpp and ggml come from the module cache. `go list` names the folder once the module is downloaded.
OLLAMA := $(shell $(GO) mod download github.com/ollama/ollama 1>&2 && $(GO) list -m -f '{{.Dir}}' github.com/ollama/ollama)
ifeq ($(OLLAMA),)
$(error could not download github.com/ollama/ollama: see the message of go mod download above)
endif
GGML := $(OLLAMA)/ml/backend/ggml/ggml

# Where the processor has AMX, ggml refers to a buffer type whose sources the module does not compile.
AMX := $(if $(findstring __AMX_TILE__,$(shell g++ -march=$(MARCH) -dM -E -x c++ /dev/null)),-mno-amx-tile -mno-amx-int8 -mno-amx-bf16)

export CGO_ENABLED  := 1
export CGO_CPPFLAGS := -DGGML_USE_CPU_REPACK -I$(OLLAMA)/llama/llama.cpp/include -I$(OLLAMA)/llama/llama.cpp/src -I$(GGML)/include -I$(GGML)/src
export CGO_CFLAGS   := -O3 -march=$(MARCH) $(AMX)
export CGO_CXXFLAGS := -O3 -march=$(MARCH) $(AMX)

CLANG_TIDY ?= clang-tidy

# The flags of `make test-asan`, which follow those above.
SANITIZE := -O1 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined

# What it leaves out: a long test that runs llama.cpp's C++ and none of ours.
UNSANITIZED := ^TestTokenizerAgainstLlamaCPP$$

# The packages with C++.
CXX_PACKAGES := ./runtime/kernels/... ./runtime/llama/... ./runtime/qlora/...

# The packages without C.
PURE := ./tokenizer ./quant/... ./runtime ./runtime/engine/... ./runtime/llama/backends ./runtime/runtimetest/... ./chat/... ./grammar/... ./responses ./batches ./tenants ./adapters/... ./cluster ./route ./bench/cluster ./graders ./tinker/... ./training/... ./fetch/... ./openapi/... ./server/... ./demo/... ./deploy ./docs/... ./page/... ./internal/bytesize ./internal/disk ./internal/diskfaults ./internal/gitlfs ./internal/jsonvalue ./internal/parallel ./internal/testtools

.PHONY: build run page screenshots vulkan cuda test test-go test-race test-asan test-vulkan bench lint lint-cxx generate env clean

build: ## bin/lorikeet
	$(GO) build -o bin/lorikeet ./cmd/lorikeet

run: build ## serve the embedded base with the demo adapters
	bin/lorikeet serve --adapter-dir demo/adapters

page: ## page/dist, the web page, from page/src; needs Node 20.19 or newer
	@CGO_ENABLED=0 $(GO) run ./page/generate

screenshots: ## docs/page/*.png, by the tests that walk through the page in Chromium; its fonts should have Chinese ones
	@mkdir -p docs/page
	LORIKEET_REQUIRE_TOOLS=1 LORIKEET_SCREENSHOTS='$(CURDIR)/docs/page' $(GO) test ./e2e -run '^TestPage' -count=1

vulkan: ## bin/lib/libggml-vulkan-VERSION.so, the back end for GPUs that have a Vulkan driver (docs/devices.md)
	@OLLAMA=$(OLLAMA) runtime/llama/backends/vulkan/build.sh

cuda: ## bin/lib/libggml-cuda-VERSION.so, the back end for the NVIDIA GPUs of CUDA_ARCHS: by default this machine's
	@OLLAMA=$(OLLAMA) runtime/llama/backends/cuda/build.sh

# One package at a time: the compute threads of two test programs on the same cores wait for each other.
test: ## everything
	$(GO) build ./...
	$(GO) test -p 1 -timeout 45m ./...

test-go: ## the packages without C, in seconds
	CGO_ENABLED=0 $(GO) test $(PURE)

test-race: ## the packages without C under the race detector
	$(GO) test -race -short $(PURE)

# An overlay adds the flags of the sanitizers to the packages with our C++ alone, so that llama.cpp is not compiled again.
# The folder of the overlay begins with a _, so that ./... passes it over. Leaks are not looked for: what only Go's memory points to would count as one.
test-asan: ## the C++ of our own under AddressSanitizer and UndefinedBehaviorSanitizer
	@mkdir -p bin/_sanitize
	@$(GO) list -f '{{if .CXXFiles}}{{.Dir}} {{.Name}}{{end}}' $(CXX_PACKAGES) | while read -r dir name; do \
		printf 'package %s\n\n// #cgo CXXFLAGS: %s\n// #cgo LDFLAGS: %s\nimport "C"\n' $$name '$(SANITIZE)' '$(filter -fsanitize=%,$(SANITIZE))' > bin/_sanitize/$$name.go; \
		printf '%s"%s/sanitize.go": "%s/bin/_sanitize/%s.go"\n' "$$comma" "$$dir" "$(CURDIR)" $$name; comma=','; \
	done | { echo '{"Replace": {'; cat; echo '}}'; } > bin/_sanitize/overlay.json
	CGO_CXXFLAGS_ALLOW='-f.*' ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
		$(GO) test -overlay bin/_sanitize/overlay.json -short -skip '$(UNSANITIZED)' -p 1 -timeout 30m $(CXX_PACKAGES)

test-vulkan: vulkan ## the tests with models on a device, on Vulkan in software (lavapipe, in a Debian of its own: needs root)
	@GO=$(GO) runtime/llama/backends/lavapipe/test.sh

bench: build ## the side-by-side measurements; each says what it compares
	$(GO) run ./bench/serve
	$(GO) run ./bench/step
	$(GO) run ./bench/switch
	$(GO) run ./bench/grammar
	$(GO) run ./bench/http
	$(GO) run ./bench/demosets
	$(GO) run ./bench/train
	$(GO) run ./bench/coserve
	$(GO) run ./bench/tinker
	$(GO) run ./bench/soak

lint: lint-cxx
	$(GO) vet ./...
	$(GOLANGCI_LINT) run ./...

lint-cxx: ## clang-tidy over our C++, each file with the flags that the build gives it; .clang-tidy chooses the checks
	@command -v $(CLANG_TIDY) >/dev/null || { echo '$(CLANG_TIDY) not found: install it, for example: apt-get install clang-tidy' >&2; exit 1; }
	@$(GO) list -f '{{$$p := .}}{{range .CXXFiles}}{{$$p.Dir}}/{{.}} -- {{join $$p.CgoCPPFLAGS " "}} {{join $$p.CgoCXXFLAGS " "}} -I{{$$p.Dir}}{{"\n"}}{{end}}' $(CXX_PACKAGES) | \
		xargs -P $$(nproc) -L 1 sh -c 'out=$$($(CLANG_TIDY) --quiet "$$@" $$CGO_CPPFLAGS $$CGO_CXXFLAGS 2>&1) || { echo "$$out"; exit 1; }' sh

generate: page ## page/dist, openapi/*.gen.go, tinker/wire/wire.pb.go, demo/demo-base.nf4.gguf, docs/batch.svg and the tables of docs/
	$(GO) generate ./openapi ./tinker/wire ./demo ./docs/draw ./runtime/llama/devicetest
	$(GO) test ./cmd/lorikeet -run '^TestConfigurationTable$$' -update
	$(GO) test ./openapi -run '^TestEndpointTable$$' -update
	$(GO) test ./e2e -run '^(TestArchitectureShowsTheArrows|TestClientTable)$$' -update

env: ## the C flags for an editor or a shell: eval "$(make -s env)"
	@echo 'export CGO_CPPFLAGS="$(CGO_CPPFLAGS)"'
	@echo 'export CGO_CFLAGS="$(CGO_CFLAGS)"'
	@echo 'export CGO_CXXFLAGS="$(CGO_CXXFLAGS)"'

clean:
	rm -rf bin
