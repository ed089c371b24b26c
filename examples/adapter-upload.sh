#!/usr/bin/env bash
# Registers a PEFT adapter under a name, asks it a question, and shows what the server holds.
#   examples/adapter-upload.sh [NAME [FOLDER]]
# LORIKEET_URL is the server's address, LORIKEET_API_KEY its key where it asks for one.
set -euo pipefail
url=${LORIKEET_URL:-http://127.0.0.1:8080}
name=${1:-captain}
folder=${2:-$(dirname "$0")/../demo/adapters/pirate}
request() { curl -sS --fail-with-body ${LORIKEET_API_KEY:+-H "Authorization: Bearer $LORIKEET_API_KEY"} "$@"; echo; }

request "$url/adapters" -F "name=$name" \
  -F "file=@$folder/adapter_config.json" -F "file=@$folder/adapter_model.safetensors"

request -H 'Content-Type: application/json' "$url/v1/chat/completions" \
  -d '{"model": "'"$name"'", "messages": [{"role": "user", "content": "Hello!"}], "temperature": 0}'

request "$url/adapters/$name"
