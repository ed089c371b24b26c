#!/usr/bin/env bash
# Trains an adapter on the weights that serve, follows the loss, and asks the new adapter.
#   examples/train.sh [NAME [DATASET]]
# LORIKEET_URL is the server's address, LORIKEET_API_KEY its key where it asks for one.
set -euo pipefail
url=${LORIKEET_URL:-http://127.0.0.1:8080}
name=${1:-trained}
data=${2:-$(dirname "$0")/../demo/data/support.jsonl}
request() { curl -sS --fail-with-body ${LORIKEET_API_KEY:+-H "Authorization: Bearer $LORIKEET_API_KEY"} "$@"; }

job=$(request "$url/adapters/train" -F "name=$name" -F "file=@$data" | sed 's/.*"id":"\([^"]*\)".*/\1/')
echo "job $job"

# The events from the first on, until the job ends.
request -N "$url/adapters/train/$job/events" | sed -n 's/^data: .*"message":"\([^"]*\)".*/\1/p'

request -H 'Content-Type: application/json' "$url/v1/chat/completions" \
  -d '{"adapter": "'"$name"'", "messages": [{"role": "user", "content": "When do you open?"}], "temperature": 0}'
echo

# The same loss as a picture: /adapters/NAME/report?format=svg
request "$url/adapters/$name/report"
echo
