#!/usr/bin/env bash
# Asks one question of the base, of each adapter, and of a weighted sum of two.
#   examples/adapter-chat.sh ["a question"]
# The server must have the demo's adapters: lorikeet serve --adapter-dir demo/adapters (make run does).
# LORIKEET_URL is the server's address, LORIKEET_API_KEY its key where it asks for one.
set -euo pipefail
url=${LORIKEET_URL:-http://127.0.0.1:8080}
question=${1:-What sound does a dog make?}

for adapter in null '"pirate"' '"json"' '"shout"' '[{"name": "pirate", "scale": 0.5}, {"name": "shout", "scale": 0.5}]'; do
  printf '%s\n  ' "$adapter"
  curl -sS --fail-with-body ${LORIKEET_API_KEY:+-H "Authorization: Bearer $LORIKEET_API_KEY"} \
    -H 'Content-Type: application/json' "$url/v1/chat/completions" \
    -d '{"messages": [{"role": "user", "content": "'"$question"'"}], "temperature": 0, "adapter": '"$adapter"'}' |
    sed -E 's/.*"content":"(([^"\\]|\\.)*)".*/\1/'
  echo
done
