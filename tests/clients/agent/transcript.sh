#!/usr/bin/env bash
# Writes docs/agent-session.md: what the scripted session said and heard, in both generations.
# Usage: transcript.sh PATH_TO_FREEHOLD_BINARY
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[[ $# -eq 1 && -x $1 ]] || { echo "usage: $0 PATH_TO_FREEHOLD_BINARY" >&2; exit 2; }
bin=$(realpath "$1")
cache=${CACHE_DIR:-$here/.cache}
work=$(mktemp -d)
cleanup() {
  if [[ -f $work/agent.pid ]]; then
    kill -KILL "$(<"$work/agent.pid")" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap cleanup EXIT

source "$here/../tools.sh"
need_tools
need_python "$here/python" python

passed=0 failed=0
smoke() {
  local name=$1
  shift
  if timeout --kill-after=5 120 "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}
out=$work/agent-session.md
cat >"$out" <<'HEAD'
# A session of an agent

What an agent says to a bare `freehold` and what it hears, written by `make transcript`: the official Python SDK, once
with MCP 2026-07-28 and once with the older generation, on a host with small limits
(`tests/clients/agent/freehold.toml`) so that each of them is reached. `make clients` runs the same session and fails where
an answer is another. Long answers are cut.
HEAD
source "$here/agent/run.sh" "$bin" "$out"
[[ $failed -eq 0 && $passed -eq 2 ]] || exit 1
mkdir -p "$here/../../docs"
cp "$out" "$here/../../docs/agent-session.md"
echo "docs/agent-session.md: $(wc -l <"$out") lines"
