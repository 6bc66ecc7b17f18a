# The scripted session of an agent, once per generation, against a host with small limits. To be sourced by ../run.sh,
# whose `smoke`, $here, $cache and $work it uses; $1 is a program of this host, $2 (optional) the transcript's file.

agent_session() {
  local bin=$1 transcript=${2:-} data=$work/agent url tenant
  "$bin" serve --dev --listen 127.0.0.1:0 --config "$here/agent/freehold.toml" --data-dir "$data" \
    >"$work/agent.stdout" 2>"$work/agent.stderr" &
  local agent=$!
  echo "$agent" >"$work/agent.pid"
  for _ in $(seq 150); do
    url=$(sed -nE 's#^listening on (http://127\.0\.0\.1:[0-9]+/mcp)$#\1#p' "$work/agent.stdout")
    [[ -n $url ]] && break
    kill -0 "$agent" 2>/dev/null || break
    sleep 0.2
  done
  if [[ -z $url ]]; then
    echo "the agent's server did not say where it listens; it wrote:" >&2
    tail -n 30 "$work/agent.stdout" "$work/agent.stderr" >&2
    return 1
  fi
  local generation tenants=(acme globex) nth=0
  for generation in modern legacy; do
    tenant=${tenants[$nth]} nth=$((nth + 1))
    URL=$url TOKEN=$(timeout 30 "$bin" token issue --tenant "$tenant" --data-dir "$data") \
      smoke "agent $generation" "$cache/python/bin/python" "$here/agent/session.py" "$generation" ${transcript:+"$transcript"}
  done
  kill -TERM "$agent" 2>/dev/null || true
  wait "$agent" || { echo "FAILED: the agent's server did not end well" >&2; failed=$((failed + 1)); }
  rm -f "$work/agent.pid"
}

agent_session "$@"
