#!/usr/bin/env bash
# Makes one adapter out of two, downloads it for PEFT and for llama.cpp, and sends the downloads back.
#   examples/export.sh [NAME]
# The server must have the demo's adapters: lorikeet serve --adapter-dir demo/adapters (make run does).
# LORIKEET_URL is the server's address, LORIKEET_API_KEY its key where it asks for one.
set -euo pipefail
url=${LORIKEET_URL:-http://127.0.0.1:8080}
name=${1:-blend}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
request() { curl -sS --fail-with-body ${LORIKEET_API_KEY:+-H "Authorization: Bearer $LORIKEET_API_KEY"} "$@"; }

request -H 'Content-Type: application/json' "$url/adapters/merge" \
  -d '{"name": "'"$name"'", "method": "cat", "from": [{"name": "pirate", "weight": 0.5}, {"name": "shout", "weight": 0.5}]}'

request "$url/adapters/$name/download?format=peft" -o "$folder/$name.zip"
request "$url/adapters/$name/download?format=gguf" -o "$folder/$name.gguf"
wc -c "$folder/$name.zip" "$folder/$name.gguf" | sed "s|$folder/||"

# Four names for one function: the sum in a request, the merged adapter, and both of its files.
request "$url/adapters" -F "name=$name-peft" -F "file=@$folder/$name.zip" > "$folder/answer"
request "$url/adapters" -F "name=$name-gguf" -F "file=@$folder/$name.gguf" > "$folder/answer"
for adapter in '[{"name": "pirate", "scale": 0.5}, {"name": "shout", "scale": 0.5}]' "\"$name\"" "\"$name-peft\"" "\"$name-gguf\""; do
  printf '%s\n  ' "$adapter"
  request -H 'Content-Type: application/json' "$url/v1/chat/completions" \
    -d '{"messages": [{"role": "user", "content": "What sound does a dog make?"}], "temperature": 0, "adapter": '"$adapter"'}' |
    sed -E 's/.*"content":"(([^"\\]|\\.)*)".*/\1/'
  echo
done
