#!/usr/bin/env bash
# Starts, kills and starts again the server of the journeys, on one port and one data directory.
# Usage: server.sh start|restart|stop     Expects SERVER_BIN and SERVER_DIR (for its files) to be set.
# `restart` is kill -9: what was acknowledged has to be there all the same.
set -euo pipefail

pid() { cat "$SERVER_DIR/pid" 2>/dev/null || true; }
gone() { [[ -z $1 ]] || ! kill -0 "$1" 2>/dev/null; }

start() {
  local port url
  port=$(cat "$SERVER_DIR/port" 2>/dev/null || echo 0)
  # Clients ask faster than people do: their rate is no subject here.
  FREEHOLD_LIMITS__REQUESTS_PER_SECOND=0 FREEHOLD_LIMITS__PRINCIPAL_REQUESTS_PER_SECOND=0 \
    nohup "$SERVER_BIN" serve --dev --listen "127.0.0.1:$port" --data-dir "$SERVER_DIR/data" \
    >"$SERVER_DIR/stdout" 2>>"$SERVER_DIR/stderr" </dev/null &
  echo $! >"$SERVER_DIR/pid"
  for _ in $(seq 150); do
    url=$(sed -nE 's#^listening on http://127\.0\.0\.1:([0-9]+)/mcp$#\1#p' "$SERVER_DIR/stdout")
    if [[ -n $url ]]; then
      echo "$url" >"$SERVER_DIR/port"
      return
    fi
    gone "$(pid)" && break
    sleep 0.1
  done
  echo "the server did not say where it listens; it wrote:" >&2
  tail -n 30 "$SERVER_DIR/stdout" "$SERVER_DIR/stderr" >&2
  exit 1
}

end() {
  local running
  running=$(pid)
  gone "$running" && return
  kill "-$1" "$running"
  for _ in $(seq 300); do
    gone "$running" && return
    sleep 0.1
  done
  echo "the server did not end within 30 s of a signal $1" >&2
  kill -KILL "$running"
  exit 1
}

case ${1:-} in
  start) start ;;
  restart) end KILL && start ;;
  stop) end TERM ;;
  *) echo "usage: $0 start|restart|stop" >&2 && exit 2 ;;
esac
