#!/usr/bin/env bash
# Runs the official MCP conformance suite against the fixture server on this host, with bearer tokens on, and
# prints one line of figures a run. Ends with a failure if any check failed.
# Usage: run.sh PATH_TO_CONFORMANCE_EXAMPLE
# The suite is installed once into .cache/ (ignored by git); CACHE_DIR moves it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ $# -eq 1 ]] || { echo "usage: $0 PATH_TO_CONFORMANCE_EXAMPLE" >&2; exit 2; }
cache=${CACHE_DIR:-$here/.cache}
source "$here/../tools.sh"
bin=$(program "$1")

need_tools
need_packages "$here" conformance
exec node "$here/run.mjs" "$bin" "$cache/conformance/node_modules/@modelcontextprotocol/conformance/dist/index.js"
