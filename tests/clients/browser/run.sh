#!/usr/bin/env bash
# A page in a real Chromium that runs the official TypeScript SDK against a running server of another origin.
# Usage: run.sh PATH_TO_CONFORMANCE_EXAMPLE
# The packages are installed once into .cache/ (ignored by git); CACHE_DIR moves it. CHROMIUM names the browser.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ $# -eq 1 ]] || { echo "usage: $0 PATH_TO_CONFORMANCE_EXAMPLE" >&2; exit 2; }
[[ -f $1 && -x $1 ]] || { echo "$0: no such program: $1" >&2; exit 2; }
bin=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
cache=${CACHE_DIR:-$here/.cache}
source "$here/../../tools.sh"

server=
work=$(mktemp -d)
cleanup() {
  [[ -z $server ]] || kill -KILL "$server" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

need_tools
find_chromium() { command -v "${CHROMIUM:-chromium}" || command -v chromium-browser || command -v google-chrome; }
if ! find_chromium >/dev/null && [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
  timeout 300 apt-get update
  timeout 900 apt-get install -y --no-install-recommends chromium
fi
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
URL=
for _ in $(seq 150); do
  URL=$(sed -nE 's#^listening on (http://127\.0\.0\.1:[0-9]+/mcp)$#\1#p' "$work/stdout")
  [[ -n $URL ]] && break
  kill -0 "$server" 2>/dev/null || break
  sleep 0.2
done
if [[ -z $URL ]]; then
  echo "$0: the server did not say where it listens; it wrote:" >&2
  tail -n 50 "$work/stdout" "$work/stderr" >&2
  exit 1
fi
TOKEN=$(timeout 30 "$bin" token issue --tenant acme --data-dir "$data")
export URL TOKEN CHROMIUM PAGE_PORT BUNDLE

if ! timeout --kill-after=5 150 node "$cache/browser/browser.mjs"; then
  echo "# the server's last words" >&2
  tail -n 50 "$work/stderr" >&2
  exit 1
fi
