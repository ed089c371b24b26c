#!/usr/bin/env bash
# Streams an answer: one server-sent event per piece of text, "data: [DONE]" at the end.
#   examples/stream.sh ["a question"]
# LORIKEET_URL is the server's address, LORIKEET_API_KEY its key where it asks for one.
set -euo pipefail
url=${LORIKEET_URL:-http://127.0.0.1:8080}
question=${1:-Tell me a short story about a cat.}

curl -sSN --fail-with-body ${LORIKEET_API_KEY:+-H "Authorization: Bearer $LORIKEET_API_KEY"} \
  -H 'Content-Type: application/json' "$url/v1/chat/completions" \
  -d '{"messages": [{"role": "user", "content": "'"$question"'"}], "temperature": 0,
       "stream": true, "stream_options": {"include_usage": true}}'
