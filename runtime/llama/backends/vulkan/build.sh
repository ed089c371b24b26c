#!/usr/bin/env bash
# Builds bin/lib/libggml-vulkan-VERSION.so, for every GPU that has a Vulkan driver. Needs GLSLC, the compiler of shaders (by
# default glslc of the PATH), and the Vulkan headers; nothing of Vulkan is needed to load the result.
source "$(dirname "$0")/../common.sh"

SOURCES=$GGML/src/ggml-vulkan
SHADERS=$SOURCES/vulkan-shaders
GLSLC=$(command -v "${GLSLC:-glslc}") ||
  fail "glslc is needed, which compiles the shaders: apt-get install glslc, or the Vulkan SDK"
HEADERS=$(echo '#include <vulkan/vulkan.hpp>' | $CXX -std=c++17 -x c++ -M - 2>/dev/null | tr ' ' '\n' | grep '/vulkan_core.h$') ||
  fail "the Vulkan headers for C++ are needed: apt-get install libvulkan-dev, or the Vulkan SDK"

# features prints a macro for each extension that this glslc compiles: the module has lost the shaders by which ggml's own
# build finds out, and would take all for granted.
features() {
  local shader pair
  shader=$(mktemp --suffix=.comp)
  for pair in KHR_cooperative_matrix:COOPMAT NV_cooperative_matrix2:COOPMAT2 EXT_integer_dot_product:INTEGER_DOT EXT_bfloat16:BFLOAT16; do
    printf '#version 460\n#extension GL_%s : require\nvoid main() {}\n' "${pair%:*}" >"$shader"
    if "$GLSLC" -o /dev/null -fshader-stage=compute --target-env=vulkan1.3 "$shader" 2>/dev/null; then
      echo "-DGGML_VULKAN_${pair#*:}_GLSLC_SUPPORT"
    fi
  done
  rm "$shader"
}

FEATURES=$(features | xargs)
KEY=$({ echo "$VERSION $FEATURES"; "$GLSLC" --version; $CXX --version; grep VK_HEADER_VERSION "$HEADERS"; } | digest)
if installed vulkan "$KEY"; then exit; fi
BUILD=$CACHE/vulkan-$KEY
RESULT=$BUILD/libggml-vulkan.so

# overlay puts links to the shaders into the folder, but a types.glsl with NF4's codebook.
overlay() {
  mkdir -p overlay spirv embedded objects
  ln -sf "$SHADERS"/*.comp "$SHADERS"/*.glsl "$HERE/nf4_codebook.glsl" overlay/
  rm overlay/types.glsl
  awk -f "$HERE/nf4_codebook.awk" "$SHADERS/types.glsl" >overlay/types.glsl
}

# shader NAME compiles all variants of one shader and writes them as C++. The generator ends well where glslc fails, so
# that its messages count.
shader() {
  local out=embedded/$1
  [ ! -f "$out.cpp" ] || return 0
  ./vulkan-shaders-gen --output-dir spirv --target-hpp ggml-vulkan-shaders.hpp \
    --glslc "$GLSLC" --source "overlay/$1" --target-cpp "$out.new" 2>"$out.errors"
  if [ -s "$out.errors" ]; then
    cat "$out.errors" >&2
    return 255
  fi
  mv "$out.new" "$out.cpp"
}
export -f shader

# build compiles in the folder, so that the paths in the commands are the same whatever its name is, as ccache needs it.
build() {
  mkdir -p "$BUILD"
  cd "$BUILD"
  overlay
  # shellcheck disable=SC2206 # FEATURES is a list of flags
  local flags=(-std=c++17 -fPIC -fvisibility=hidden -DNDEBUG -DGGML_BACKEND_DL -DGGML_BACKEND_SHARED -DGGML_BACKEND_BUILD $FEATURES
    -include "$HERE/layer_settings.h" "-I$GGML/include" "-I$GGML/src" -I.)
  compile vulkan-shaders-gen $CXX -O2 -std=c++17 $FEATURES "$SHADERS/vulkan-shaders-gen.cpp" -pthread
  ./vulkan-shaders-gen --output-dir spirv --target-hpp ggml-vulkan-shaders.hpp
  export GLSLC CXX FLAGS="${flags[*]}"
  (cd overlay && ls -- *.comp) | xargs -P "$JOBS" -I{} bash -c 'shader {}'
  { echo "-O2 $SOURCES/ggml-vulkan.cpp"; echo "-O2 $HERE/loader.cpp"; printf -- '-O0 %s\n' embedded/*.cpp; } |
    xargs -P "$JOBS" -L 1 bash -c 'compile "objects/$(basename "$2").o" $CXX $1 $FLAGS -c "$2"' _
  $CXX -shared -s -o "$RESULT" objects/*.o -ldl "-Wl,--version-script=$BACKENDS/exports.map"
  finish "$RESULT"
}

if [ ! -f "$RESULT" ]; then
  echo "compiling the shaders of ggml-vulkan; this glslc knows: ${FEATURES:-no extension}"
  build
fi
install_library vulkan "$KEY" "$RESULT"
