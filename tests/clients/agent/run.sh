# The scripted session of an agent, once per generation, against a host with small limits. To be sourced by ../run.sh,
# whose `smoke`, $here, $cache and $work it uses; $1 is a program of this host, $2 (optional) the transcript's file.

agent_session() {
  local bin=$1 transcript=${2:-} data=$work/agent url tenant
  "$bin" serve --dev --listen 127.0.0.1:0 --config "$here/agent/freehold.toml" --data-dir "$data" \
    >"$work/agent.stdout" 2>"$work/agent.stderr" &
  local agent=$!
  echo "$agent" >"$work/agent.pid"
  listening "$agent" "$work/agent.stdout" "$work/agent.stderr"
  url=http://$address/mcp
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
