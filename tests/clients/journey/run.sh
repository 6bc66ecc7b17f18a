# One conversation through every client: list, call, progress, news, a server that is killed, and on. To be
# sourced by ../run.sh, whose `smoke`, $here, $cache and $work it uses; $1 is the conformance example.

need_packages "$here/bridges" bridges
bridges=$cache/bridges/node_modules
python=$cache/python/bin/python
cp "$here/journey/journey.mjs" "$cache/typescript/"

export SERVER_BIN=$1 SERVER_DIR=$work/journey
mkdir -p "$SERVER_DIR"
bash "$here/journey/server.sh" start
URL=http://127.0.0.1:$(<"$SERVER_DIR/port")/mcp
TOKEN=$(timeout 30 "$SERVER_BIN" token issue --tenant acme --data-dir "$SERVER_DIR/data")
RESTART="[\"bash\",\"$here/journey/server.sh\",\"restart\"]"
export URL TOKEN RESTART
# What they remember between runs belongs to this run alone.
export MCP_REMOTE_CONFIG_DIR=$SERVER_DIR/mcp-remote MCP_CATALOG_PATH=$SERVER_DIR/inspector.json

# A list of words as JSON: what Python starts as the other end of its pipe.
words() { node -e 'console.log(JSON.stringify(process.argv.slice(1)))' -- "$@"; }

for name in python-modern python-legacy fastmcp-modern fastmcp-legacy; do
  smoke "$name" "$python" "$here/journey/journey.py" "$name"
done
for name in typescript-{modern,2025-11-25,2025-06-18,2025-03-26,v1}; do
  smoke "$name" node "$cache/typescript/journey.mjs" "$name"
done

# The same server on a pipe, for one tenant and in a folder of its own.
BRIDGE=$(words "$SERVER_BIN" serve --transport stdio --tenant acme --data-dir "$SERVER_DIR/stdio")
export BRIDGE
for name in stdio-modern stdio-legacy; do
  smoke "$name" "$python" "$here/journey/journey.py" "$name"
done

# A client that only knows pipes, over a bridge.
(umask 077 && printf 'Authorization: Bearer %s\n' "$TOKEN" >"$SERVER_DIR/headers")
BRIDGE=$(words node "$bridges/mcp-remote/dist/proxy.js" "$URL" --header-file "$SERVER_DIR/headers" --transport http-only --silent)
for name in mcp-remote-modern mcp-remote-legacy; do
  smoke "$name" "$python" "$here/journey/journey.py" "$name"
done
BRIDGE=$(words node "$bridges/supergateway/dist/index.js" --streamableHttp "$URL" --oauth2Bearer "$TOKEN" --logLevel none)
smoke supergateway-legacy "$python" "$here/journey/journey.py" supergateway-legacy

inspect() {
  local said
  said=$(node "$bridges/@modelcontextprotocol/inspector/clients/launcher/build/index.js" --cli "$URL" \
    --transport http --header "Authorization: Bearer $TOKEN" "$@") && grep -q '"increment"\|"value"' <<<"$said" ||
    { echo "$said" | tail -n 30 >&2; return 1; }
}
export -f inspect
export bridges
smoke "inspector lists" bash -c 'inspect --method tools/list' && echo "ok - inspector: lists"
smoke "inspector calls" bash -c 'inspect --method tools/call --tool-name increment' && echo "ok - inspector: calls"

if ! bash "$here/journey/server.sh" stop; then
  echo "FAILED: the journeys' server did not stop" >&2
  failed=$((failed + 1))
fi
