#!/usr/bin/env bash
# Checks the files of deploy/ with the strictest checker that there is for each without running it: the Dockerfile,
# compose, Kubernetes, systemd, Prometheus' rules, Grafana's dashboard and freehold's own settings.
# (The balancers' files are run for real: `make proxies` and `make rolling`.)
# Usage: check.sh PATH_TO_FREEHOLD_BINARY
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
deploy=$(cd "$here/../../deploy" && pwd)
[[ $# -eq 1 ]] || { echo "usage: $0 PATH_TO_FREEHOLD_BINARY" >&2; exit 2; }
cache=${CACHE_DIR:-$here/../clients/.cache}
source "$here/../tools.sh"
bin=$(program "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

need_tools
need_python "$here" deploy
command -v systemd-analyze >/dev/null || install_debian systemd
command -v promtool >/dev/null || install_debian prometheus
command -v systemd-analyze >/dev/null && command -v promtool >/dev/null ||
  { echo "$0: needs systemd-analyze and promtool (Debian: apt-get install systemd prometheus)" >&2; exit 1; }
PATH=$cache/deploy/bin:$PATH

failed=0
check() { # TITLE COMMAND…
  local title=$1
  shift
  if "$@" >"$work/out" 2>&1; then
    echo "ok - $title"
  else
    echo "FAILED: $title" >&2
    cat "$work/out" >&2
    failed=$((failed + 1))
  fi
}
refuses() { # TITLE COMMAND…: a checker that finds nothing has to find this
  local title=$1
  shift
  if "$@" >"$work/out" 2>&1; then
    echo "FAILED: $title is taken for good" >&2
    failed=$((failed + 1))
  fi
}

check "the Dockerfile" hadolint --failure-threshold style "$deploy/Dockerfile"
sed 's#^FROM gcr.io/distroless/cc-debian12:nonroot#FROM debian:latest#' "$deploy/Dockerfile" >"$work/Dockerfile"
refuses "an image without a version" hadolint --failure-threshold style "$work/Dockerfile"

check "compose" check-jsonschema --builtin-schema vendor.compose-spec "$deploy/compose.yaml"

check "Kubernetes" kubernetes-validate --strict --quiet "$deploy/kubernetes/freehold.yaml"
sed 's/replicas: 1/replica: 1/' "$deploy/kubernetes/freehold.yaml" >"$work/kubernetes.yaml"
refuses "an unknown key of a StatefulSet" kubernetes-validate --strict --quiet "$work/kubernetes.yaml"
# The settings inside of it, as the host reads them.
settings() {
  sed -n '/freehold.toml: |/,/^---/p' "$deploy/kubernetes/freehold.yaml" | sed -e '1d' -e '/^---/d' -e 's/^    //' \
    >"$work/kubernetes.toml"
  "$bin" config check --config "$work/kubernetes.toml"
}
check "Kubernetes' settings" settings
# What Prometheus is told of is what the host listens on.
ports() {
  local yaml=$deploy/kubernetes/freehold.yaml port
  port=$(sed -n 's/^metrics_listen = ".*:\([0-9]*\)"$/\1/p' "$work/kubernetes.toml")
  [[ -n $port ]] || { echo "no metrics_listen"; return 1; }
  grep -A1 'name: metrics' "$yaml" | grep -q "containerPort: $port" &&
    grep -A1 'name: metrics' "$yaml" | grep -q " port: $port" && grep -q "prometheus.io/port: \"$port\"" "$yaml"
}
check "Kubernetes' port of the metrics" ports
check "freehold.toml" "$bin" config check --config "$deploy/freehold.toml"

# The unit with the program where it is here; how much it can reach, from 0 (nothing) to 10 in tenths.
sed "s#/usr/local/bin/freehold#$bin#" "$deploy/systemd/freehold@.service" >"$work/freehold@8000.service"
check "systemd: the unit" systemd-analyze verify --man=no "$work/freehold@8000.service"
check "systemd: its exposure is at most 1.5" \
  systemd-analyze security --offline=true --no-pager --threshold=15 "$work/freehold@8000.service"

check "Prometheus: the configuration" promtool check config --syntax-only "$deploy/prometheus/prometheus.yml"
check "Prometheus: the rules" promtool check rules --lint-fatal "$deploy/prometheus/freehold.rules.yml"
check "Prometheus: what the rules say, and when" promtool test rules "$deploy/prometheus/freehold.rules.test.yml"
# A query that can't be read shows an empty panel, and nothing else. (Grafana's own variables are times and words.)
queries() {
  python3 - "$deploy/grafana/freehold.json" >"$work/queries" <<'PYTHON'
import json, sys

for panel in json.load(open(sys.argv[1]))["panels"]:
    for target in panel["targets"]:
        print(target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*"))
PYTHON
  [[ $(wc -l <"$work/queries") -gt 10 ]]
  # As rules, for promtool reads those.
  { echo "groups: [{name: panels, rules: ["; nl -w1 -s' ' "$work/queries" | while read -r n query; do
    printf '{record: "panel:%s", expr: %s},
' "$n" "$(python3 -c 'import json,sys; print(json.dumps(sys.argv[1]))' "$query")"
  done; echo "]}]"; } >"$work/panels.yml"
  promtool check rules "$work/panels.yml"
}
check "Grafana: the dashboard's queries" queries

echo "$failed failed"
[[ $failed -eq 0 ]]
