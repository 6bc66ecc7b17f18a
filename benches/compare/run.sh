#!/usr/bin/env bash
# Compares Freehold with what else there is, on this machine: installs the others, pinned, into a cache, and has the
# bench start each of them on loopback and ask all of them the same. Prints one table.
# Usage: run.sh [--small] [--markdown]
# --small: the debug build, some dozens of calls, without the bridges; it fails where a row has no figure.
# COMPARE_ONLY="FastMCP,mcp-proxy" compares with those alone.
# The cache is .cache/ beside this file (ignored by git); CACHE_DIR moves it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${CACHE_DIR:-$here/.cache}
source "$here/../../tests/tools.sh"
small=
for argument in "$@"; do
  case $argument in
    --small) small=yes ;;
    --markdown) export COMPARE_MARKDOWN=yes ;;
    *) echo "usage: $0 [--small] [--markdown]" >&2; exit 2 ;;
  esac
done

need_tools
# FastMCP is what the clients' tests have too.
need_python "$here/../../tests/clients/python" python
need_packages "$here" compare
# Node looks for packages beside the script, so the scripts go beside them.
cp "$here"/*.mjs "$here"/fastmcp_app.py "$cache/compare/"
export COMPARE_CACHE=$cache PYTHONDONTWRITEBYTECODE=yes

cd "$here/../.."
if [[ $small ]]; then
  export COMPARE_ONLY=${COMPARE_ONLY:-bare rmcp,FastMCP,TypeScript SDK}
  # As the tests have built it.
  timeout --kill-after=5 300 cargo test --all-features --bench host -- compare
  exit
fi
need_python "$here/mcp-proxy" mcp-proxy
timeout --kill-after=5 3600 cargo bench --bench host -- compare

pinned() { node -p "Object.entries(require('$1').dependencies).map(one => one.join(' ')).join(', ')"; }
of_lock() { sed -n "/^name = \"$1\"/{n;s/version = \"\(.*\)\"/$1 \1/p}" Cargo.lock; }
echo "- Versions: $(of_lock rmcp), $(of_lock axum); $(sed -n 's/^fastmcp==/fastmcp /p' tests/clients/python/requirements.txt)," \
  "$("$cache/python/bin/python" --version); $(pinned "$here/package.json"), Node $(node --version);" \
  "$(sed -n 's/^mcp-proxy==/mcp-proxy /p' "$here/mcp-proxy/requirements.txt"). $(nproc) shared cores of $(uname -m), Linux."
