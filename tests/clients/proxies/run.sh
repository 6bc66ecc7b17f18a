#!/usr/bin/env bash
# Runs the balancers of deploy/ in front of a real server, each from its own file with nothing changed but
# addresses, ports and paths, and checks what agents need through each; then the server's own TLS, and the
# headers of a tunnel.
# Usage: run.sh PATH_TO_FREEHOLD_BINARY
# REQUESTS is how many calls the keep-alive check makes through each balancer (default 10000).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
deploy=$(cd "$here/../../../deploy" && pwd)
[[ $# -eq 1 ]] || { echo "usage: $0 PATH_TO_FREEHOLD_BINARY" >&2; exit 2; }
cache=${CACHE_DIR:-$here/.cache}
source "$here/../../tools.sh"
bin=$(program "$1")

begin_work

need_tools
need_commands haproxy nginx caddy openssl curl
need_python "$here" proxies

name=mcp.example.com
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=test CA" \
  -addext "keyUsage=keyCertSign" -keyout "$work/ca.key" -out "$work/ca.crt" 2>/dev/null
certify() { # PREFIX
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" \
    -keyout "$1.key" -out "$1.csr" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial -days 2 \
    -extfile <(printf 'subjectAltName=DNS:%s\nextendedKeyUsage=serverAuth\n' "$name") -out "$1.crt" 2>/dev/null
  chmod 600 "$1.key"
}
certify "$work/leaf"
cat "$work/leaf.crt" "$work/leaf.key" >"$work/leaf.pem"

# A port that was free a moment ago: the balancers can't choose one themselves.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# The server, with room for the keep-alive check.
export FREEHOLD_PUBLIC_URL=https://$name
export FREEHOLD_LIMITS__REQUESTS_PER_SECOND=1000000 FREEHOLD_LIMITS__PRINCIPAL_REQUESTS_PER_SECOND=1000000
export FREEHOLD_LIMITS__BURST=1000000 FREEHOLD_LIMITS__PRINCIPAL_BURST=1000000
serve() { # NAME ARGUMENTS…
  local called=$1
  shift
  "$bin" serve --dev --listen 127.0.0.1:0 --data-dir "$work/$called" "$@" >"$work/$called.out" 2>"$work/$called.log" &
  started+=($!)
  listening $! "$work/$called.out" "$work/$called.log"
}
serve plain --behind-proxy
upstream=$address
TOKEN=$(timeout 30 "$bin" token issue --tenant acme --data-dir "$work/plain")
export TOKEN

failed=0 checks=()
# Checks go on beside each other, for most of each is waiting for a sign of life on a stream; TITLE PORT MODE LOG.
check() {
  timeout --kill-after=5 300 python3 "$here/checks.py" --mode "$3" --port "$2" --ca "$work/ca.crt" --log "$4" \
    --name "$name" --requests "${REQUESTS:-10000}" >"$work/$1.said" 2>&1 &
  started+=($!)
  checks+=("$1:$!")
}
settle() {
  local one
  for one in "${checks[@]}"; do
    if wait "${one#*:}"; then
      echo "# ${one%:*}"
      cat "$work/${one%:*}.said"
    else
      echo "# FAILED: ${one%:*}" >&2
      cat "$work/${one%:*}.said" >&2
      tail -n 20 "$work/${one%:*}.log" >&2 2>/dev/null || true
      failed=$((failed + 1))
    fi
  done
  checks=()
}

# Each file as it is shipped, but for where things are here.
port=$(free_port)
sed -e "s#127.0.0.1:8000#$upstream#" -e "s#bind :443#bind 127.0.0.1:$port#" \
  -e "s#/etc/haproxy/mcp.example.com.pem#$work/leaf.pem#" "$deploy/haproxy.cfg" >"$work/haproxy.cfg"
haproxy -f "$work/haproxy.cfg" >"$work/haproxy.log" 2>&1 &
started+=($!)
check haproxy "$port" proxy "$work/plain.log"

port=$(free_port)
mkdir -p "$work/nginx"
sed -e "s#127.0.0.1:8000#$upstream#" -e "s#listen 443#listen 127.0.0.1:$port#" -e "s#/run/nginx.pid#$work/nginx.pid#" \
  -e "s#/etc/nginx/mcp.example.com#$work/leaf#" "$deploy/nginx.conf" >"$work/nginx.conf"
nginx -e stderr -p "$work/nginx/" -c "$work/nginx.conf" -g 'daemon off; user root;' >"$work/nginx.log" 2>&1 &
started+=($!)
check nginx "$port" proxy "$work/plain.log"

port=$(free_port)
# No certificate authority of the world's here, no port of its own for redirects and administration, and no patience.
sed -e "s#127.0.0.1:8000#$upstream#" -e 's#grace_period 30s#grace_period 1s\n\tadmin off\n\tauto_https off#' \
  -e "s#^$name {#https://$name:$port {\n\tbind 127.0.0.1\n\ttls $work/leaf.crt $work/leaf.key#" \
  "$deploy/Caddyfile" >"$work/Caddyfile"
HOME=$work XDG_DATA_HOME=$work XDG_CONFIG_HOME=$work caddy run --adapter caddyfile --config "$work/Caddyfile" >"$work/caddy.log" 2>&1 &
started+=($!)
check caddy "$port" proxy "$work/plain.log"

port=$(free_port)
if [[ -x $cache/proxies/bin/envoy ]]; then
  sed -e "s#address: 127.0.0.1, port_value: 8000#address: 127.0.0.1, port_value: ${upstream##*:}#" \
    -e "s#address: 0.0.0.0, port_value: 443#address: 127.0.0.1, port_value: $port#" \
    -e "s#/etc/envoy/mcp.example.com#$work/leaf#" "$deploy/envoy.yaml" >"$work/envoy.yaml"
  # No hot restart: that has names of its own on the machine, which another Envoy may have.
  "$cache/proxies/bin/envoy" -c "$work/envoy.yaml" --disable-hot-restart --concurrency 2 -l warning >"$work/envoy.log" 2>&1 &
  started+=($!)
  check envoy "$port" proxy "$work/plain.log"
else
  echo "# envoy: no wheel of it for $(uname -m), not run"
fi

# As a tunnel's agent on this machine asks: plain HTTP, the public name, who called.
check tunnel "${upstream##*:}" tunnel "$work/plain.log"

# The server's own TLS.
certify "$work/own"
serve own --tls-cert "$work/own.crt" --tls-key "$work/own.key"
own=${started[-1]}
TOKEN=$(timeout 30 "$bin" token issue --tenant acme --data-dir "$work/own")
check own "${address##*:}" tls "$work/own.log"
settle
before=$(openssl x509 -in "$work/own.crt" -noout -serial)
certify "$work/own"
kill -HUP "$own"
served=
for _ in $(seq 100); do
  served=$(openssl s_client -connect "$address" -servername "$name" </dev/null 2>/dev/null | openssl x509 -noout -serial)
  [[ $served == "$before" ]] || break
  sleep 0.1
done
if [[ $served != "$(openssl x509 -in "$work/own.crt" -noout -serial)" ]]; then
  echo "FAILED: the new certificate is not served after SIGHUP" >&2
  failed=$((failed + 1))
fi

# Tokens in plain text on an address that others reach: refused, unless said to be meant.
if out=$(timeout 20 "$bin" serve --listen 0.0.0.0:0 --data-dir "$work/open" 2>&1); then
  echo "FAILED: plain HTTP on 0.0.0.0 was served" >&2
  failed=$((failed + 1))
elif [[ $out != *--behind-proxy* ]]; then
  echo "FAILED: plain HTTP on 0.0.0.0 was refused without saying how to go on: $out" >&2
  failed=$((failed + 1))
fi

echo "$failed failed"
[[ $failed -eq 0 ]]
