#!/usr/bin/env bash
# Sends many requests at once, each for another adapter than the one before, and prints the answers: the
# server decodes them all in one batch.
#   examples/mixed-load.sh [REQUESTS]
# The server must have the demo's adapters: lorikeet serve --adapter-dir demo/adapters (make run does).
# LORIKEET_URL is the server's address, LORIKEET_API_KEY its key where it asks for one.
set -euo pipefail
url=${LORIKEET_URL:-http://127.0.0.1:8080}
requests=${1:-12}
adapters=(null '"pirate"' '"json"' '"shout"')
questions=("What is the capital of France?" "What is 6 times 7?" "Who are you?" "What day comes after Monday?" "When do you open?")
answers=$(mktemp -d)
trap 'rm -rf "$answers"' EXIT

pids=()
for ((i = 0; i < requests; i++)); do
  body='{"messages": [{"role": "user", "content": "'"${questions[i % 5]}"'"}], "temperature": 0, "adapter": '"${adapters[i % 4]}"'}'
  curl -sS --fail-with-body ${LORIKEET_API_KEY:+-H "Authorization: Bearer $LORIKEET_API_KEY"} \
    -H 'Content-Type: application/json' "$url/v1/chat/completions" -d "$body" -o "$answers/$i" &
  pids+=($!)
done
failed=0
for pid in "${pids[@]}"; do wait "$pid" || failed=1; done

for ((i = 0; i < requests; i++)); do
  answer=$(sed -E 's/.*"content":"(([^"\\]|\\.)*)".*/\1/' "$answers/$i")
  printf '%-9s %-34s %s\n' "${adapters[i % 4]}" "${questions[i % 5]}" "$answer"
done
exit $failed
