# What a newcomer types. Everything that a target needs and that is not Rust's own, it installs or names.

.PHONY: serve test bench lint unit doc clients conformance deny

# Where cargo puts what the tests with foreign programs start.
EXAMPLES = $$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/debug/examples

# A host to try, with the tenants acme and globex.
serve:
	cargo run --release --bin freehold -- serve --dev

# All that has to hold before a change lands.
test: lint unit doc clients conformance

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

# The official MCP conformance suite against a server on this host, with bearer tokens on.
conformance:
	cargo build --example conformance
	cd $(EXAMPLES) && bash $(CURDIR)/tests/conformance/run.sh conformance

# Licences, sources and duplicates of what we depend on: `cargo install --locked cargo-deny` first.
deny:
	cargo deny --config deploy/deny.toml check bans licenses sources
