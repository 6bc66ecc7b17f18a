# What a newcomer types. Everything that a target needs and that is not Rust's own, it installs or names.

.PHONY: serve test bench lint unit doc clients transcript conformance proxies rolling deploy-check docs browser oauth slow slow-small compare compare-small deny

# Where cargo puts what the tests with foreign programs start.
EXAMPLES = $$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/debug/examples

# A host to try, with the tenants acme and globex.
serve:
	cargo run --release --bin freehold -- serve --dev

# All that has to hold before a change lands.
test: lint unit doc clients conformance browser proxies oauth rolling deploy-check slow-small

bench:
	cargo bench --bench host

lint:
	cargo fmt --check
	cargo clippy --all-targets --all-features -- --deny warnings

# Unit and integration tests, the benches in small, and the examples in the documentation.
unit:
	cargo test --all-targets --all-features
	cargo test --doc --all-features

doc:
	RUSTDOCFLAGS="--deny warnings" cargo doc --no-deps --all-features --document-private-items

# The official MCP SDKs, FastMCP, the Inspector and bridges against real binaries.
clients:
	cargo build --example counter --example conformance
	cd $(EXAMPLES) && bash $(CURDIR)/tests/clients/run.sh counter conformance

# docs/agent-session.md: what an agent says and hears, with every tool and at every limit.
transcript:
	cargo build
	cd $(EXAMPLES)/.. && bash $(CURDIR)/tests/clients/agent/transcript.sh ./freehold

# The official MCP conformance suite against a server on this host, with bearer tokens on.
conformance:
	cargo build --example conformance
	cd $(EXAMPLES) && bash $(CURDIR)/tests/conformance/run.sh conformance

# HAProxy, nginx, Caddy and Envoy with the files of deploy/ in front of a server; its own TLS; a tunnel's headers.
proxies:
	cargo build
	cd $(EXAMPLES)/.. && bash $(CURDIR)/tests/clients/proxies/run.sh freehold

# One process replaces another behind HAProxy while the official SDK's agents write. RATE=200 for more of them.
rolling:
	cargo build
	cd $(EXAMPLES)/.. && bash $(CURDIR)/tests/clients/rolling/run.sh freehold

# The files of deploy/, each with the strictest checker that there is for it.
deploy-check:
	cargo build
	cd $(EXAMPLES)/.. && bash $(CURDIR)/tests/deploy/check.sh freehold

# The tables of docs/ from the source; a test says when they are due.
docs:
	WRITE_DOCS=1 cargo test --all-features --test it docs::

# A page in a real Chromium that runs the official TypeScript SDK.
browser:
	cargo build --example conformance
	cd $(EXAMPLES) && bash $(CURDIR)/tests/clients/browser/run.sh conformance

# A real authorization server, the official SDK's way to a token, and other libraries' tokens.
oauth:
	cargo build
	cd $(EXAMPLES)/.. && bash $(CURDIR)/tests/clients/oauth/run.sh freehold

# Clients that are slow on purpose, 2,000 of each kind: some minutes.
slow:
	cargo build --release
	cd $(EXAMPLES)/../../release && python3 $(CURDIR)/tests/clients/slow/slow.py ./freehold

# The same with 100 of each kind and bounds of some seconds.
slow-small:
	cargo build
	cd $(EXAMPLES)/.. && python3 $(CURDIR)/tests/clients/slow/slow.py ./freehold 100 --hurried

# What else there is beside Freehold, each asked the same: ten minutes. ARGS=--markdown for the table of docs/compare.md.
compare:
	bash benches/compare/run.sh $(ARGS)

# The same in some seconds with the build that the tests have, without the bridges: it fails where a row has no figure.
compare-small:
	bash benches/compare/run.sh --small

# Licences, sources and duplicates of what we depend on: `cargo install --locked cargo-deny` first.
deny:
	cargo deny --config deploy/deny.toml check bans licenses sources
