#!/usr/bin/env bash
# Answers a file of requests, each by an adapter of its own, and prints the results; then embeds a text.
#   examples/batch.sh
# The server must have the demo's adapters: lorikeet serve --adapter-dir demo/adapters (make run does).
# LORIKEET_URL is the server's address, LORIKEET_API_KEY its key where it asks for one.
set -euo pipefail
url=${LORIKEET_URL:-http://127.0.0.1:8080}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
request() { curl -sS --fail-with-body ${LORIKEET_API_KEY:+-H "Authorization: Bearer $LORIKEET_API_KEY"} "$@"; }
field() { sed -E 's/.*"'"$1"'":"([^"]*)".*/\1/'; }

for model in lorikeet-demo pirate shout; do
  printf '{"custom_id": "%s", "method": "POST", "url": "/v1/chat/completions", "body": %s}\n' "$model" \
    '{"model": "'"$model"'", "messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0}'
done > "$folder/requests.jsonl"

file=$(request "$url/v1/files" -F purpose=batch -F "file=@$folder/requests.jsonl" | field id)
batch=$(request -H 'Content-Type: application/json' "$url/v1/batches" \
  -d '{"input_file_id": "'"$file"'", "endpoint": "/v1/chat/completions", "completion_window": "24h"}' | field id)
until request "$url/v1/batches/$batch" > "$folder/batch" && grep -q '"status":"completed"' "$folder/batch"; do sleep 0.2; done
cat "$folder/batch"
request "$url/v1/files/$(field output_file_id < "$folder/batch")/content"

request -H 'Content-Type: application/json' "$url/v1/embeddings" -d '{"input": "A dog barks.", "dimensions": 4}'
