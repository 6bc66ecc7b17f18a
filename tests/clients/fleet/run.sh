# kill -9 under a fleet of open sessions. To be sourced by ../run.sh, whose `smoke`, $here, $cache and $work it uses; $1
# is the conformance example. FLEET is the number of sessions: 20 in every test run, `FLEET=200 make clients` for more.

cp "$here/fleet/fleet.mjs" "$cache/typescript/"
export SERVER_BIN=$1 SERVER_DIR=$work/fleet
mkdir -p "$SERVER_DIR"
# Each tenant has a tenth of the fleet, which is more than one caller gets unless told so.
export FREEHOLD_LIMITS__SESSIONS_PER_PRINCIPAL=64
bash "$here/journey/server.sh" start
URL=http://127.0.0.1:$(<"$SERVER_DIR/port")/mcp
tokens=()
for number in $(seq 10); do
  timeout 30 "$SERVER_BIN" tenant create "fleet-$number" --data-dir "$SERVER_DIR/data" >/dev/null
  tokens+=("\"$(timeout 30 "$SERVER_BIN" token issue --tenant "fleet-$number" --data-dir "$SERVER_DIR/data")\"")
done
TOKENS="[$(IFS=, && echo "${tokens[*]}")]"
RESTART="[\"bash\",\"$here/journey/server.sh\",\"restart\"]"
export URL TOKENS RESTART
smoke_seconds=240 smoke fleet node "$cache/typescript/fleet.mjs" "${FLEET:-20}" "$cache/python/bin/python" "$here/fleet/fleet.py"
if ! bash "$here/journey/server.sh" stop; then
  echo "FAILED: the fleet's server did not stop" >&2
  failed=$((failed + 1))
fi
unset FREEHOLD_LIMITS__SESSIONS_PER_PRINCIPAL
