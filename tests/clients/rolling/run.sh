#!/usr/bin/env bash
# One version of the server replaces another behind HAProxy (deploy/haproxy-rolling.cfg, with nothing changed but
# addresses and the certificate) while agents write through it. Twice, so that each place has been both.
# Shows: no call failed after its agent's retries, no acknowledged row is lost, no session was opened anew.
# Usage: run.sh PATH_TO_FREEHOLD_BINARY
# RATE is how many calls a second (default 20), SECONDS_LONG for how long (default 12), AGENTS how many agents (8).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
clients=$(dirname "$here")
[[ $# -eq 1 ]] || { echo "usage: $0 PATH_TO_FREEHOLD_BINARY" >&2; exit 2; }
cache=${CACHE_DIR:-$clients/.cache}
rate=${RATE:-20} long=${SECONDS_LONG:-12} agents=${AGENTS:-8}

source "$clients/../tools.sh"
bin=$(program "$1")

begin_work

need_tools
need_python "$clients/python" python
need_commands haproxy curl

# Ports that were free a moment ago: the two places are known to HAProxy before anybody listens there.
read -r front one two < <(python3 -c 'import socket
open = [socket.socket() for _ in range(3)]
for s in open: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in open))')

# Plain HTTP to the agents: the SDK would have to be taught a certificate, and TLS is `make proxies`' subject.
sed -e "s#bind :443 ssl crt [^ ]* alpn [^ ]*#bind 127.0.0.1:$front#" -e '/Strict-Transport-Security/d' \
  -e "s#127.0.0.1:8000#127.0.0.1:$one#" -e "s#127.0.0.1:8001#127.0.0.1:$two#" \
  "$here/../../../deploy/haproxy-rolling.cfg" >"$work/haproxy.cfg"
haproxy -f "$work/haproxy.cfg" >"$work/haproxy.log" 2>&1 &
started+=($!)

data=$work/data
export FREEHOLD_PUBLIC_URL=http://127.0.0.1:$front FREEHOLD_CONNECTIONS__DRAIN_DELAY=1s
# Agents of one tenant are many here, and their rate is no subject.
export FREEHOLD_LIMITS__REQUESTS_PER_SECOND=0 FREEHOLD_LIMITS__PRINCIPAL_REQUESTS_PER_SECOND=0
"$bin" key generate --data-dir "$data" >/dev/null
tokens=
for tenant in acme globex initech; do
  "$bin" tenant create "$tenant" --data-dir "$data" >/dev/null
  tokens+="${tokens:+,}\"$tenant\":\"$("$bin" token issue --tenant "$tenant" --data-dir "$data")\""
done

served() { # PORT: whether it is ready
  curl -sf -o /dev/null "http://127.0.0.1:$1/readyz"
}
within() { # SECONDS WHAT COMMAND…: it comes true
  local tries=$(($1 * 20)) what=$2
  shift 2
  for _ in $(seq "$tries"); do
    "$@" && return
    sleep 0.05
  done
  echo "never came: $what" >&2
  tail -n 20 "$work"/*.log >&2
  exit 1
}
start() { # PORT
  "$bin" serve --behind-proxy --listen "127.0.0.1:$1" --data-dir "$data" --wait-for-lock 120s \
    >"$work/$1.out" 2>>"$work/$1.log" &
  started+=($!)
  server=$!
}
replace() { # PORT_OF_THE_NEXT
  local old=$server status=0
  start "$1"
  within 30 "the next process waits" grep -q '"message":"waiting for' "$work/$1.log"
  kill -TERM "$old"
  wait "$old" || status=$?
  [[ $status -eq 0 ]] || { echo "FAILED: the replaced process ended with status $status" >&2; exit 1; }
  within 30 "the next process serves" grep -q '^listening on' "$work/$1.out"
}

start "$one"
within 30 "the first process is ready" served "$one"
within 30 "HAProxy has seen it" served "$front"

URL=http://127.0.0.1:$front/mcp TOKENS="{$tokens}" timeout --kill-after=5 "$((long + 150))" \
  "$cache/python/bin/python" "$here/agents.py" "$long" "$rate" "$agents" >"$work/agents" 2>"$work/agents.log" &
started+=($!)
agents_pid=$!
within 60 "agents at work" grep -q '^under way' "$work/agents"
replace "$two"
sleep 1 # Some calls in peace, on the second process.
: >"$work/$one.log"
replace "$one"
if ! wait "$agents_pid"; then
  echo "FAILED: the agents gave up" >&2
  tail -n 40 "$work/agents.log" >&2
  exit 1
fi
kill -TERM "$server"
wait "$server" || { echo "FAILED: the last process ended with status $?" >&2; exit 1; }

# The rows, as a bystander reads them out of the tenants' files.
python3 - "$work/agents" "$data" <<'PYTHON'
import json, pathlib, sqlite3, sys

told = json.loads(pathlib.Path(sys.argv[1]).read_text().splitlines()[-1])
files = {path.parent.name: path for path in pathlib.Path(sys.argv[2]).glob("tenants/*/*/tenant.db")}
lost = 0
for agent, (tenant, rows) in told.pop("acknowledged").items():
    there = {n for (n,) in sqlite3.connect(files[tenant]).execute("SELECT n FROM row WHERE agent = ?", (agent,))}
    lost += len(set(rows) - there)
told["lost"] = lost
print(json.dumps(told))
wrong = [name for name, count in told["sessions"].items() if count != 1]
assert told["calls"] > 0 and told["failed"] == 0, "calls failed"
assert lost == 0, "acknowledged rows are lost"
assert not wrong, f"sessions were opened anew: {wrong}"
PYTHON
echo "ok - the server was replaced twice under $rate calls a second"
