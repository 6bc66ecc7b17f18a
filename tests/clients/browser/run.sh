#!/usr/bin/env bash
# A page in a real Chromium that runs the official TypeScript SDK against a running server of another origin.
# Usage: run.sh PATH_TO_CONFORMANCE_EXAMPLE
# The packages are installed once into .cache/ (ignored by git); CACHE_DIR moves it. CHROMIUM names the browser.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ $# -eq 1 ]] || { echo "usage: $0 PATH_TO_CONFORMANCE_EXAMPLE" >&2; exit 2; }
cache=${CACHE_DIR:-$here/.cache}
source "$here/../../tools.sh"
bin=$(program "$1")

server=
work=$(mktemp -d)
cleanup() {
  [[ -z $server ]] || { kill -KILL "$server" && wait "$server"; } 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

need_tools
find_chromium() { command -v "${CHROMIUM:-chromium}" || command -v chromium-browser || command -v google-chrome; }
find_chromium >/dev/null || install_debian chromium
CHROMIUM=$(find_chromium) || { echo "$0: needs chromium (Debian: apt-get install chromium)" >&2; exit 1; }
need_packages "$here" browser

# Node looks for packages beside the script, so the scripts go beside them.
cp "$here"/*.mjs "$cache/browser/"
BUNDLE=$work/page.js
"$(find "$cache/browser/node_modules/@esbuild" -path '*/bin/esbuild' | head -n 1)" "$cache/browser/page.mjs" \
  --bundle --format=esm --platform=browser --log-level=warning --outfile="$BUNDLE"

# The page's port has to be known to the server before it starts.
PAGE_PORT=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close() })')
data=$work/data
FREEHOLD_CORS__ALLOWED_ORIGINS="[\"http://app.localhost:$PAGE_PORT\"]" \
  "$bin" serve --dev --listen 127.0.0.1:0 --data-dir "$data" >"$work/stdout" 2>"$work/stderr" &
server=$!
listening "$server" "$work/stdout" "$work/stderr"
URL=http://$address/mcp
TOKEN=$(timeout 30 "$bin" token issue --tenant acme --data-dir "$data")
KEYS=$data/keys
export URL TOKEN KEYS CHROMIUM PAGE_PORT BUNDLE

if ! timeout --kill-after=5 150 node "$cache/browser/browser.mjs"; then
  echo "# the server's last words" >&2
  tail -n 50 "$work/stderr" >&2
  exit 1
fi
