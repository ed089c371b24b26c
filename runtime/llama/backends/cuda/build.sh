#!/usr/bin/env bash
# Builds bin/lib/libggml-cuda-VERSION.so for the GPUs of CUDA_ARCHS, a list of compute capabilities without the point ("86 90");
# by default those of this machine. The compiler is that of CUDA_HOME, of the PATH or of /usr/local/cuda; where there is
# none, it is installed as Python packages into a folder of the user's cache. cuBLAS is linked dynamically; CUDA_RPATH
# says where it is looked for, by default beside the library and in the folder of the toolkit.
source "$(dirname "$0")/../common.sh"

SOURCES=$GGML/src/ggml-cuda

# toolkit prints the folder of the CUDA toolkit.
toolkit() {
  local nvcc venv
  if [ -n "${CUDA_HOME:-}" ]; then
    [ -x "$CUDA_HOME/bin/nvcc" ] || fail "CUDA_HOME is $CUDA_HOME, which has no bin/nvcc"
    echo "$CUDA_HOME"
  elif nvcc=$(command -v nvcc); then
    dirname "$(dirname "$(readlink -f "$nvcc")")"
  elif [ -x /usr/local/cuda/bin/nvcc ]; then
    echo /usr/local/cuda
  else
    venv=$CACHE/nvcc-$(sha256sum "$HERE/requirements.txt" | cut -c1-16)
    if [ ! -f "$venv/complete" ]; then
      echo "installing nvcc and cuBLAS into $venv" >&2
      python3 -m venv --clear "$venv" >&2 && "$venv/bin/pip" install -q -r "$HERE/requirements.txt" >&2 ||
        fail "nvcc is needed: install the CUDA toolkit and set CUDA_HOME, or python3-venv with access to PyPI"
      touch "$venv/complete"
    fi
    echo "$venv"/lib/python3*/site-packages/nvidia/cu13
  fi
}

# library NAME prints the path of a library of the toolkit, whose folder differs between its packages.
library() {
  local file
  for file in "$CUDA"/lib64/$1 "$CUDA"/lib/$1 "$CUDA"/targets/*/lib/$1; do
    if [ -f "$file" ]; then
      echo "$file"
      return
    fi
  done
  fail "$CUDA has no $1"
}

ARCHS=${CUDA_ARCHS:-$({ nvidia-smi --query-gpu=compute_cap --format=csv,noheader || true; } 2>/dev/null | tr -d . | sort -u | xargs)}
[ -n "$ARCHS" ] || fail "nvidia-smi names no GPU: say for which compute capability to build, for example CUDA_ARCHS=90"
CUDA=$(toolkit)
NVCC=$CUDA/bin/nvcc
CUBLAS=$(library 'libcublas.so.[0-9][0-9]')
RUNTIME=$(library libcudart_static.a)
RPATH=${CUDA_RPATH:-\$ORIGIN:$(dirname "$CUBLAS")}
WRAPPER=$(command -v ccache || true)

KEY=$({ echo "$VERSION $ARCHS $CUBLAS $RPATH"; "$NVCC" --version; $CXX --version; } | digest)
if installed cuda "$KEY"; then exit; fi
BUILD=$CACHE/cuda-$KEY
RESULT=$BUILD/libggml-cuda.so

# overlay puts links to the sources into the folder, but copies of three that have NF4's codebook.
overlay() {
  local name
  mkdir -p overlay objects
  cp -rsf "$SOURCES" overlay/
  for name in convert.cu vecdotq.cuh mmq.cuh; do
    rm -f "overlay/ggml-cuda/$name"
    awk -f "$HERE/nf4_codebook.awk" "$SOURCES/$name" >"overlay/ggml-cuda/$name"
  done
}

# sources lists what ggml's own build compiles: of the many kernels for quantized KV caches three.
sources() {
  ls overlay/ggml-cuda/*.cu overlay/ggml-cuda/template-instances/{fattn-tile,fattn-mma,mmq,mmf}*.cu
  ls overlay/ggml-cuda/template-instances/fattn-vec-instance-{f16-f16,q4_0-q4_0,q8_0-q8_0}.cu
}

# build compiles in the folder, so that the paths in the commands are the same whatever its name is, as ccache needs it.
build() {
  mkdir -p "$BUILD"
  cd "$BUILD"
  overlay
  local flags=(-O3 -std=c++17 -use_fast_math -extended-lambda -compress-mode=size -Xcompiler "-fPIC,-fvisibility=hidden"
    -include "$HERE/nf4_codebook.cuh" -Ioverlay "-I$GGML/src" "-I$GGML/include"
    -DNDEBUG -DGGML_BACKEND_DL -DGGML_BACKEND_SHARED -DGGML_BACKEND_BUILD -DGGML_CUDA_USE_GRAPHS)
  local arch
  for arch in $ARCHS; do
    flags+=(-gencode "arch=compute_$arch,code=sm_$arch")
  done
  export WRAPPER NVCC FLAGS="${flags[*]}"
  sources | xargs -P "$JOBS" -I{} bash -c 'compile "objects/$(basename "$1").o" $WRAPPER "$NVCC" $FLAGS -c "$1"' _ {}
  local host=(-O2 -std=c++17 -fPIC -fvisibility=hidden "-I$CUDA/include" "-I$GGML/include" "-I$GGML/src")
  compile objects/driver.o $CXX "${host[@]}" -c "$HERE/driver.cpp"
  compile objects/mem_nvml.o $CXX "${host[@]}" -c "$GGML/src/mem_nvml.cpp"
  $CXX -shared -s -o "$RESULT" objects/*.o "$RUNTIME" "$CUBLAS" -ldl -lpthread -lrt \
    "-Wl,--version-script=$BACKENDS/exports.map,--enable-new-dtags,-rpath,$RPATH"
  finish "$RESULT"
}

[ -f "$RESULT" ] || build
install_library cuda "$KEY" "$RESULT"
