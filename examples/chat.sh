#!/usr/bin/env bash
# Asks the base model one question and prints the server's answer.
#   examples/chat.sh ["a question"]
# LORIKEET_URL is the server's address, LORIKEET_API_KEY its key where it asks for one.
set -euo pipefail
url=${LORIKEET_URL:-http://127.0.0.1:8080}
question=${1:-What is the capital of France?}

curl -sS --fail-with-body ${LORIKEET_API_KEY:+-H "Authorization: Bearer $LORIKEET_API_KEY"} \
  -H 'Content-Type: application/json' "$url/v1/chat/completions" \
  -d '{"messages": [{"role": "user", "content": "'"$question"'"}], "temperature": 0}'
echo
