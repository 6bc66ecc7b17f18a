#!/usr/bin/env bash
# A real authorization server (oidc-provider), the official TypeScript SDK's whole way to a token, and tokens that
# other libraries read and write, against a real server.
# Usage: run.sh PATH_TO_FREEHOLD_BINARY
# The packages are installed once into .cache/ (ignored by git); CACHE_DIR moves it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ $# -eq 1 ]] || { echo "usage: $0 PATH_TO_FREEHOLD_BINARY" >&2; exit 2; }
cache=${CACHE_DIR:-$here/.cache}
source "$here/../../tools.sh"
BIN=$(program "$1")

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

need_tools
need_packages "$here" oauth
need_python "$here" oauth-python
# Node looks for packages beside the script, so the scripts go beside them.
cp "$here"/*.mjs "$cache/oauth/"
# Bad tokens by the dozen from one address are what these tests are about.
export BIN WORK FREEHOLD_AUTH__FAILURES_PER_MINUTE=0

passed=0 failed=0
smoke() {
  local name=$1
  shift
  echo "# $name"
  if timeout --kill-after=5 180 "$@"; then
    passed=$((passed + 1))
  else
    echo "FAILED: $name" >&2
    failed=$((failed + 1))
  fi
}
smoke "a real authorization server" node "$cache/oauth/oauth.mjs"
smoke "the official TypeScript SDK, from an address to an answer" node "$cache/oauth/sdk.mjs"
smoke "tokens of jose, and ours read by it" node "$cache/oauth/tokens.mjs"
smoke "tokens of PyJWT, and ours read by it" "$cache/oauth-python/bin/python" -W ignore "$here/tokens.py"

if [[ $failed -ne 0 ]]; then
  echo "# the servers' last words" >&2
  tail -n 20 "$WORK"/*/log >&2 || true
fi
echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
