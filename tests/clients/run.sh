#!/usr/bin/env bash
# Runs the official client SDKs' smoke tests against a real server: starts the
# given `counter` binary on a free port of 127.0.0.1 with a fresh data directory
# and two tenants, runs every smoke, and stops the server. Then one conversation
# through every client and bridge with the `conformance` binary (journey/run.sh),
# and kill -9 under a fleet of open sessions (fleet/run.sh).
# Usage: run.sh PATH_TO_COUNTER_BINARY PATH_TO_CONFORMANCE_BINARY
# The SDKs are installed once into .cache/ (ignored by git); CACHE_DIR moves it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ $# -eq 2 ]] || { echo "usage: $0 PATH_TO_COUNTER_BINARY PATH_TO_CONFORMANCE_BINARY" >&2; exit 2; }
cache=${CACHE_DIR:-$here/.cache}
source "$here/../tools.sh"
bin=$(program "$1")
conformance=$(program "$2")

server=
work=$(mktemp -d)
cleanup() {
  if [[ -n $server ]] && kill -0 "$server" 2>/dev/null; then
    kill -KILL "$server" 2>/dev/null || true
  fi
  local pid
  for pid in "$work"/{journey,fleet}/pid "$work/agent.pid"; do
    [[ -f $pid ]] && kill -KILL "$(<"$pid")" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

need_tools
# The SDKs, installed again only when what they are pinned to has changed.
need_python "$here/python" python
need_packages "$here/typescript" typescript
# Node looks for packages beside the script, so the scripts go beside them.
cp "$here"/typescript/*.mjs "$cache/typescript/"

# The server.
data=$work/data
# The clients are tried, not the rates: a smoke sends faster than an agent does.
FREEHOLD_LIMITS__REQUESTS_PER_SECOND=0 FREEHOLD_LIMITS__PRINCIPAL_REQUESTS_PER_SECOND=0 \
  "$bin" serve --dev --listen 127.0.0.1:0 --data-dir "$data" >"$work/stdout" 2>"$work/stderr" &
server=$!
listening "$server" "$work/stdout" "$work/stderr"
URL=http://$address/mcp
TOKEN_ACME=$(timeout 30 "$bin" token issue --tenant acme --data-dir "$data")
TOKEN_GLOBEX=$(timeout 30 "$bin" token issue --tenant globex --data-dir "$data")
export URL TOKEN_ACME TOKEN_GLOBEX

# The smokes.
passed=0 failed=0
smoke() {
  local name=$1
  shift
  echo "# $name"
  if timeout --kill-after=5 "${smoke_seconds:-120}" "$@"; then
    passed=$((passed + 1))
  else
    echo "FAILED: $name" >&2
    failed=$((failed + 1))
  fi
}
smoke "Python SDK" "$cache/python/bin/python" "$here/python/smoke.py"
smoke "TypeScript SDK 2.x" node "$cache/typescript/smoke.mjs"
smoke "TypeScript SDK 1.x" node "$cache/typescript/smoke-v1.mjs"

# A server that is asked to stop must do so, and cleanly.
kill -TERM "$server" 2>/dev/null || true
for _ in $(seq 75); do
  kill -0 "$server" 2>/dev/null || break
  sleep 0.2
done
if kill -0 "$server" 2>/dev/null; then
  echo "FAILED: the server did not stop within 15 s of SIGTERM" >&2
  failed=$((failed + 1))
else
  status=0
  wait "$server" || status=$?
  if [[ $status -ne 0 ]]; then
    echo "FAILED: the server ended with status $status" >&2
    failed=$((failed + 1))
  fi
  server=
fi

source "$here/agent/run.sh" "$bin"
source "$here/journey/run.sh" "$conformance"
source "$here/fleet/run.sh" "$conformance"

if [[ $failed -ne 0 ]]; then
  echo "# the servers' last words" >&2
  tail -n 50 "$work/stderr" "$work"/{journey,fleet}/stderr >&2
fi
echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
