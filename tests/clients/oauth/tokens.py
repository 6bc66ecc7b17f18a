"""Tokens between the host and PyJWT: ours are good by its rules, its are taken. Reads BIN and WORK from the environment."""

import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization as keys
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

BIN, WORK = os.environ["BIN"], Path(os.environ["WORK"])
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "tokens", "version": "0"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
LIST = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": META}}).encode()


class Host:
    """A freehold with this configuration and these tenants."""

    def __init__(self, name, settings, tenants, files=()):
        self.dir = WORK / name
        self.dir.mkdir()
        for file, content in dict(files).items():
            (self.dir / file).write_bytes(content)
            (self.dir / file).chmod(0o600)
        (self.dir / "freehold.toml").write_text(settings)
        self.place = ["--config", self.dir / "freehold.toml", "--data-dir", self.dir / "data"]
        if "hs256" not in settings:
            self.run("key", "generate")
        for tenant in tenants:
            self.run("tenant", "create", tenant)
        serve = [BIN, "serve", "--listen", "127.0.0.1:0", *self.place]
        self.process = subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=(self.dir / "log").open("w"), text=True)
        self.url = re.fullmatch(r"listening on (\S+)\n", self.process.stdout.readline())[1]

    def run(self, *words):
        return subprocess.run([BIN, *words, *self.place], check=True, capture_output=True, text=True, timeout=30).stdout.strip()

    def status(self, token):
        headers = {
            "Authorization": f"Bearer {token}", "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list",
        }
        try:
            return urllib.request.urlopen(urllib.request.Request(self.url, LIST, headers), timeout=30).status
        except urllib.error.HTTPError as refused:
            return refused.code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(30) == 0


def read_ours(token, key, algorithm, subject):
    rules = {"algorithms": [algorithm], "issuer": "freehold", "options": {"require": ["exp", "iat", "aud", "sub", "jti"]}}
    claims = jwt.decode(token, key, audience="freehold", **rules)
    assert (claims["tenant"], claims["sub"], claims["exp"] - claims["iat"]) == ("acme", subject, 600), claims
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    for wrong in ({"audience": "other"}, {"audience": "freehold", "issuer": "other"}):
        try:
            jwt.decode(token, key, **(rules | wrong))
            raise AssertionError(wrong)
        except jwt.InvalidTokenError:
            pass


def claims(issuer, **more):
    now = int(time.time())
    return {"iss": issuer, "aud": "freehold", "sub": "agent", "tenant": "acme", "scope": "read", "iat": now, "exp": now + 300} | more


def public(key):
    return key.public_key().public_bytes(keys.Encoding.PEM, keys.PublicFormat.SubjectPublicKeyInfo)


ISSUE = ["token", "issue", "--tenant", "acme", "--subject", "robot", "--ttl", "10m"]
made = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "PS384": rsa.generate_private_key(65537, 3072),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
jwks = [json.loads(jwt.get_algorithm_by_name(alg).to_jwk(key.public_key())) | {"kid": alg, "use": "sig"} for alg, key in made.items()]
files = {f"{alg}.pem": public(key) for alg, key in made.items()} | {"jwks.json": json.dumps({"keys": jwks}).encode()}
sources = {alg.lower(): f'pem_file = "{alg}.pem"' for alg in made} | {"jwks": 'jwks_file = "jwks.json"'}
settings = "".join(
    f'[[auth.issuers]]\nissuer = "{issuer}"\n{source}\ntenant_map = "prefix:{issuer}-"\nauthorization_server = false\n'
    for issuer, source in sources.items())

with Host("pyjwt", settings, ["acme", *(f"{issuer}-acme" for issuer in sources)], files) as host:
    token = host.run(*ISSUE)
    kid = jwt.get_unverified_header(token)["kid"]
    signing = keys.load_pem_private_key((host.dir / "data/keys" / f"{kid}.pem").read_bytes(), None)
    read_ours(token, signing.public_key(), "EdDSA", "robot")
    assert host.status(token) == 200
    print("  ours, by Ed25519")
    for alg, key in made.items():
        good = jwt.encode(claims(alg.lower()), key, alg)
        assert host.status(good) == 200, alg
        assert host.status(jwt.encode(claims("jwks"), key, alg, headers={"kid": alg})) == 200, alg
        assert host.status(jwt.encode(claims(alg.lower(), exp=int(time.time()) - 60), key, alg)) == 401, alg
        assert host.status(jwt.encode(claims(alg.lower(), aud="other"), key, alg)) == 401, alg
        assert host.status(jwt.encode(claims("jwks"), key, alg, headers={"kid": "x"})) == 401, alg
        assert host.status(jwt.encode(claims(alg.lower()), None, "none")) == 401, alg
    print(f"  its: {', '.join(made)}, by PEM and by JWKS")

secret = os.urandom(48).replace(b"\n", b"x")
with Host("pyjwt-secret", '[auth]\nhs256_secret_file = "secret"\n', ["acme"], {"secret": secret}) as host:
    read_ours(host.run(*ISSUE), secret, "HS256", "robot")
    assert host.status(jwt.encode(claims("freehold"), secret, "HS256")) == 200
    assert host.status(jwt.encode(claims("freehold"), secret[:-1], "HS256")) == 401
    assert host.status(jwt.encode(claims("freehold"), secret, "HS512")) == 401
    print("  both ways, by a shared secret")
