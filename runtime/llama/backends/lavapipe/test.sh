#!/usr/bin/env bash
# test.sh runs the tests whose models lie on a device, with Vulkan on lavapipe as the device; `make test-vulkan` builds the
# back end before. A first run compiles the driver's shaders, which takes minutes. Where lavapipe cannot be had, it says why
# and does nothing, or fails if LORIKEET_REQUIRE_TOOLS is 1.
set -euo pipefail
cd "$(dirname "$0")/../../../.."

RUN=$PWD/runtime/llama/backends/lavapipe/run.sh
BIN=$PWD/bin/lavapipe
LORIKEET_TEST_BACKEND=$(ls -t "$PWD"/bin/lib/libggml-vulkan-*.so | head -n 1)
export LORIKEET_TEST_BACKEND LORIKEET_TEST_DEVICE=Vulkan0
export LORIKEET_TEST_FLASH_ATTN=off # the driver's compiler crashes on its shaders

# Say first whether there is a device at all.
code=0
"$RUN" true || code=$?
if [ "$code" = 77 ] && [ "${LORIKEET_REQUIRE_TOOLS:-}" != 1 ]; then
  echo 'the tests on Vulkan are skipped'
  exit 0
fi
[ "$code" = 0 ] || exit "$code"

# PACKAGE and the pattern of its tests.
while read -r package pattern; do
  program=$BIN/$(basename "$package").test
  mkdir -p "$BIN"
  ${GO:-go} test -c -o "$program" "./$package"
  (cd "$package" && "$RUN" "$program" -test.run "$pattern" -test.timeout "${TIMEOUT:-14m}" -test.v </dev/null) |
    sed -n '/^ *--- \|^ok\|^PASS\|^FAIL\|^panic\|^SIG\|^ *[a-z_]*[.]go:/p'
done <<'TESTS'
runtime/qlora OnADevice$
runtime/llama OnADevice$
TESTS
