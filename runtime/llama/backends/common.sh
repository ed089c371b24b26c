# What the build scripts of the back ends share; they source it. Each makes libggml-KIND-VERSION.so, a shared object
# that ggml's registry loads, out of the sources in the module cache, none of which is edited.
#
# Variables: OLLAMA the folder of the module github.com/ollama/ollama, VERSION its version, LIB where the result goes (by
# default bin/lib, where bin/lorikeet looks for it), JOBS how many compilers run at once, CXX the C++ compiler.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
BACKENDS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$BACKENDS/../../.." && pwd)
OLLAMA=${OLLAMA:-$(cd "$ROOT" && go list -m -f '{{.Dir}}' github.com/ollama/ollama)}
VERSION=${VERSION:-$(basename "$OLLAMA" | sed 's/.*@//')}
GGML=$OLLAMA/ml/backend/ggml/ggml
LIB=${LIB:-$ROOT/bin/lib}
JOBS=${JOBS:-$(nproc)}
CXX=${CXX:-g++}
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/lorikeet/backends

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

# digest prints a short hash of standard input and of this kind's files.
digest() {
  { cat; cat "$BACKENDS/common.sh" "$HERE"/*; } | sha256sum | cut -c1-16
}

# installed KIND KEY: whether LIB has the library that was built from the inputs with this key; it says so.
installed() {
  local library=$LIB/libggml-$1-$VERSION.so
  [ -f "$library" ] && [ "$(cat "$LIB/.$1.key" 2>/dev/null)" = "$2" ] || return 1
  echo "$library is up to date"
}

# finish FILE keeps nothing in the folder of a build but its result.
finish() {
  find "$(dirname "$1")" -mindepth 1 -maxdepth 1 ! -name "$(basename "$1")" -exec rm -rf {} +
}

# install_library KIND KEY FILE copies the library to LIB, so that one that is in use stays as it is.
install_library() {
  local library=$LIB/libggml-$1-$VERSION.so
  mkdir -p "$LIB"
  cp "$3" "$library.new"
  mv "$library.new" "$library"
  echo "$2" >"$LIB/.$1.key"
  echo "$library: $(($(stat -c %s "$library") >> 20)) MiB"
}

# compile OBJECT COMMAND... runs the command with -o OBJECT, unless a build that was interrupted got that far.
compile() {
  local object=$1
  shift
  [ -f "$object" ] || { "$@" -o "$object.new.o" && mv "$object.new.o" "$object"; }
}
export -f compile
