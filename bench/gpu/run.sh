#!/usr/bin/env bash
# run.sh measures serving and training on a GPU, in steps that are each bounded in time and write their result at once, so
# that none can take the others with it: the numeric tests on the device, decodes with and without adapters, training beside
# transformers and peft, and both at once. What it needs was built before by bench/gpu/pack.sh; it needs neither Go nor a
# compiler.
#
#   bench/gpu/run.sh -backend bin/lib/libggml-cuda-v0.17.4.so -device CUDA0 -out results
#   bench/gpu/run.sh -dry-run -out bin/gpu/results
#
# With -dry-run all is small, and the device is Vulkan's on lavapipe, made of software (make vulkan), unless one is given.
# results/results.jsonl has a line of JSON for every measurement and for every step; results/*.log have the tables. PYTHON is
# the interpreter that has torch, transformers and peft; in a dry run these compute on the CPU. BIN is where the programs are.
# Fails where a step failed.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit

BIN=${BIN:-$PWD/bin/gpu} BACKEND='' DEVICE='' OUT='' DRY='' LIMIT='' ONLY='' PYTHON=${PYTHON:-python3}
usage() {
  sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
  echo "flags: -out FOLDER -backend FILE -device NAME [-dry-run] [-limit SECONDS in all] [-only STEP,...]" >&2
  exit 2
}
while [ $# -gt 0 ]; do
  case $1 in
  -backend) BACKEND=$(realpath "$2"); shift ;;
  -device) DEVICE=$2; shift ;;
  -out) mkdir -p "$2" && OUT=$(realpath "$2"); shift ;;
  -limit) LIMIT=$2; shift ;;
  -only) ONLY=,$2, ; shift ;;
  -dry-run) DRY=yes ;;
  *) usage ;;
  esac
  shift
done

# What the commands that use the device begin with.
THROUGH=()
if [ -n "$DRY" ] && [ -z "$BACKEND" ]; then
  BACKEND=$(ls -t "$PWD"/bin/lib/libggml-vulkan-*.so 2>/dev/null | head -n 1) DEVICE=Vulkan0
  THROUGH=("$PWD/runtime/llama/backends/lavapipe/run.sh")
fi
[ -f "$BACKEND" ] && [ -n "$DEVICE" ] && [ -n "$OUT" ] || usage

MODELS=${MODELS:-$OUT/models}
RESULTS=$OUT/results.jsonl
mkdir -p "$MODELS"
# The steps together may take longer than BUDGET: what comes last then has less, or no time.
SHAPE=8b WIDTHS=1,8,32,64 STEPS=32 TOKENS=2048 CLIENTS=8 ANSWER=400 BATCH=0 TRAIN_STEPS=5 PEER=() BUDGET=840 FACTOR=1
if [ -n "$DRY" ]; then
  # A device of software: everything is as small as it can be, and flash attention ends the compiler of its driver.
  SHAPE=tiny WIDTHS=1,8 STEPS=2 TOKENS=64 CLIENTS=2 ANSWER=60 BATCH=1 TRAIN_STEPS=1 BUDGET=3600 FACTOR=6
  PEER=(--device cpu --embedding 64 --feed-forward 128 --heads 4 --kv-heads 2 --layers 2 --vocab 512)
  NO_FLASH='-flash-attn=false' NO_FLASH_SERVE='--flash-attn off'
  export LORIKEET_TEST_FLASH_ATTN=off
fi
export LORIKEET_TEST_BACKEND=$BACKEND LORIKEET_TEST_DEVICE=$DEVICE FOLDERS="$OUT $MODELS"

# device_memory FILE notes the memory in use on the first NVIDIA GPU, in MiB, until it is ended.
device_memory() {
  if command -v nvidia-smi >/dev/null; then
    exec nvidia-smi --id=0 --query-gpu=memory.used --format=csv,noheader,nounits --loop-ms=200 >"$1"
  fi
}

FAILED=''
# run_step NAME SECONDS COMMAND... runs one step. However it ends, the next one follows.
run_step() {
  local name=$1 seconds=$(($2 * FACTOR)) left=$((${LIMIT:-$BUDGET} - SECONDS)) start=$SECONDS code memory peak
  shift 2
  if [ -n "$ONLY" ] && [ "${ONLY/,$name,/}" = "$ONLY" ]; then return; fi
  if [ "$left" -lt "$seconds" ]; then seconds=$left; fi
  if [ "$seconds" -lt 5 ]; then
    echo "{\"step\": \"$name\", \"result\": \"no time was left\"}" | tee -a "$RESULTS"
    FAILED+=" $name"
    return
  fi
  echo "== $name, at most $seconds s"
  device_memory "$OUT/$name.memory" &
  memory=$!
  timeout --kill-after=5 "$seconds" "$@" >"$OUT/$name.log" 2>&1
  code=$?
  kill "$memory" 2>/dev/null
  wait "$memory" 2>/dev/null
  peak=$(sort -n "$OUT/$name.memory" 2>/dev/null | tail -n 1)
  tail -n 40 "$OUT/$name.log"
  echo "{\"step\": \"$name\", \"exit\": $code, \"seconds\": $((SECONDS - start)), \"device_mib_in_use\": ${peak:-null}}" | tee -a "$RESULTS"
  [ "$code" = 0 ] || FAILED+=" $name"
}

# json_of FILE adds the lines of JSON that a step printed to the results.
json_of() { grep '^{' "$1" 2>/dev/null >>"$RESULTS" || true; }

on_device() { run_step "$1" "$2" "${THROUGH[@]}" "${@:3}"; }

# The tests of a package run where their data is, with the device in the place of the one that stands for a GPU. Products of floats are
# products of floats there: neither of 19 bits, as cuBLAS takes them by itself (TF32), nor of halves, as Vulkan's shaders do.
numerics() { on_device "$1" 90 env NVIDIA_TF32_OVERRIDE=0 GGML_VK_DISABLE_F16=1 bash -c 'cd "$1" && exec "$2" -test.run "OnADevice$" -test.v' numerics "runtime/$2" "$BIN/$2.test"; }

device=(-backend "$BACKEND" -device "$DEVICE" -gpu-layers -1)
# shellcheck disable=SC2054,SC2206 # commas and words are meant
serve=(-shape "$SHAPE" -dir "$MODELS" -adapters none,same,different -sequences "$WIDTHS" -steps "$STEPS" -rounds 1 ${NO_FLASH:-} -json "$RESULTS")
model=$MODELS/$SHAPE-repeated

on_device devices 30 "$BIN/lorikeet" devices --backends "$(dirname "$BACKEND")"
numerics numerics llama
numerics numerics-training qlora
on_device serve-nf4 180 "$BIN/step" "${device[@]}" "${serve[@]}" -models nf4
on_device serve-q4_k_m 180 "$BIN/step" "${device[@]}" "${serve[@]}" -models q4_k_m
# Training is refused where products round to half precision.
on_device train 120 env GGML_VK_DISABLE_F16=1 "$BIN/train" "${device[@]}" -model "$model-nf4.gguf" -tokens "$TOKENS" -rank 16 -steps "$TRAIN_STEPS" -json "$RESULTS"
run_step train-transformers 120 "$PYTHON" bench/peers/transformers_lora.py --tokens "$TOKENS" --rank 16 --steps "$TRAIN_STEPS" "${PEER[@]}"
json_of "$OUT/train-transformers.log"
# shellcheck disable=SC2086 # words are meant
on_device coserve 120 env GGML_VK_DISABLE_F16=1 "$BIN/coserve" -lorikeet "$BIN/lorikeet" -dir "$OUT" -models "$model-nf4.gguf" -clients "$CLIENTS" -tokens "$ANSWER" -batch "$BATCH" -rounds 1 -json "$RESULTS" \
  -- --backends "$(dirname "$BACKEND")" --device "$DEVICE" --gpu-layers all ${NO_FLASH_SERVE:-}
echo "results: $RESULTS"
if [ -n "$FAILED" ]; then
  echo "these steps failed:$FAILED" >&2
  exit 1
fi
