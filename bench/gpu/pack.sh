#!/usr/bin/env bash
# pack.sh builds what bench/gpu/run.sh needs into bin/gpu, for a machine that may have another processor and no Go: its code
# needs no more than AVX2 there (MARCH), and is stripped.
set -euo pipefail
cd "$(dirname "$0")/../.."

eval "$(make -s env MARCH="${MARCH:-x86-64-v3}")"
mkdir -p bin/gpu
for program in ./cmd/lorikeet ./bench/step ./bench/train ./bench/coserve; do
  go build -trimpath -ldflags='-s -w' -o "bin/gpu/$(basename "$program")" "$program"
done
for package in llama qlora; do
  go test -c -trimpath -ldflags='-s -w' -o "bin/gpu/$package.test" "./runtime/$package"
done
ls -l bin/gpu
