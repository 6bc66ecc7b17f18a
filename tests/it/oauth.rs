//! The host as a resource server (RFC 9728): where clients are sent for a token, and where they are not.

use freehold::{IssuerSettings, Settings, TenantMap};
use http::Method;
use serde_json::json;

use crate::support::plain;
use crate::support::process::run;
use crate::support::wire::Ask;

const PATHS: [&str; 3] = [
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/mcp",
    "/.well-known/oauth-protected-resource/mcp/",
];

fn with_server(settings: &mut Settings) {
    settings.public_url = Some("https://mcp.example.com".parse().expect("a URL"));
    settings.auth.issuers = vec![IssuerSettings {
        issuer: "https://idp.example/realm".to_owned(),
        jwks_url: Some("http://127.0.0.1:1/jwks".to_owned()),
        tenant_map: Some(TenantMap::Hash),
        ..IssuerSettings::default()
    }];
}

#[tokio::test]
async fn metadata_is_the_same_at_all_its_places() {
    let host = plain(&[], with_server);
    for path in PATHS {
        // Built from the settings, whatever a request says of itself.
        let ask = Ask::new(Method::GET, path)
            .header("x-forwarded-host", "evil.example")
            .header("forwarded", "host=evil.example");
        let answer = ask.send(&host).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"), "{path}");
        assert_eq!(answer.header("cache-control"), "public, max-age=300");
        assert_eq!(
            answer.json(),
            json!({
                "resource": "https://mcp.example.com/mcp", "authorization_servers": ["https://idp.example/realm"],
                "scopes_supported": ["read"], "bearer_methods_supported": ["header"],
            })
        );
        assert_eq!(Ask::new(Method::HEAD, path).send(&host).await.status, 200);
        Ask::new(Method::POST, path).send(&host).await.expect_refusal(405);
    }
    for other in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/register", "/token"]
    {
        Ask::new(Method::GET, other).send(&host).await.expect_refusal(404);
    }
    host.close().await;
}

/// A client that finds metadata ignores the token that it was given.
#[tokio::test]
async fn without_an_authorization_server_there_is_none() {
    let without = |settings: &mut Settings| {
        with_server(settings);
        settings.auth.issuers[0].authorization_server = false;
    };
    for edit in [(|_: &mut Settings| {}) as fn(&mut Settings), without] {
        let host = plain(&[], edit);
        for path in PATHS.into_iter().chain(["/.well-known/oauth-authorization-server/mcp", "/authorize"]) {
            Ask::new(Method::GET, path).send(&host).await.expect_refusal(404);
        }
        let answer = Ask::post("{}").send(&host).await;
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"mcp\"");
        host.close().await;
    }
}

#[tokio::test]
async fn challenges_say_what_is_wanted() {
    let host = plain(&["a"], with_server);
    let here = "resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource/mcp\"";
    let challenged = async |ask: Ask, status: u16| {
        let answer = ask.send(&host).await;
        answer.expect_refusal(status);
        answer.header("www-authenticate").to_owned()
    };
    let none = Ask::post("{}");
    assert_eq!(challenged(none, 401).await, format!("Bearer realm=\"mcp\", {here}, scope=\"read\""));
    let bad = Ask::post("{}").bearer("x.y.z");
    assert_eq!(
        challenged(bad, 401).await,
        format!(
            "Bearer realm=\"mcp\", error=\"invalid_token\", \
             error_description=\"The access token is invalid or expired\", {here}, scope=\"read\""
        )
    );
    let read = host.token_with("a", "read", std::time::Duration::from_secs(60)).expect("a token");
    let low = Ask::tool("sql_execute", &json!({ "statements": [] })).bearer(&read);
    assert_eq!(
        challenged(low, 403).await,
        format!(
            "Bearer realm=\"mcp\", error=\"insufficient_scope\", scope=\"write\", {here}, \
             error_description=\"write scope required\""
        )
    );
    let twice = challenged(Ask::post("{}").bearer(&read).bearer(&read), 400).await;
    assert!(twice.starts_with("Bearer realm=\"mcp\", error=\"invalid_request\""), "{twice}");
    // Right as it is, and for nobody here: another token would not help.
    let stranger = host.token("nobody").expect("a token");
    assert_eq!(challenged(Ask::tool("sql_schema", &json!({})).bearer(&stranger), 403).await, "");
    host.close().await;
}

/// A wrong setting is told at the start, with what to write.
#[test]
fn issuers_are_checked_at_the_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let (file, data) = (dir.path().join("freehold.toml"), dir.path().join("data"));
    let check = |text: &str| {
        std::fs::write(&file, text).expect("a file");
        let done = run(&data, &["config", "check", "--config", file.to_str().expect("text")]);
        (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let issuer = |more: &str| {
        format!("[[auth.issuers]]\nissuer = 'https://idp.example'\njwks_url = 'https://idp.example/jwks'\n{more}\n")
    };
    for good in [
        issuer("tenant_map = 'prefix:idp-'"),
        issuer("tenant_map = 'hash'\ntenant_claim = '/org/id'\nexpected_claims = { typ = 'access' }"),
        issuer("tenant_map = 'identity'"),
        issuer("[auth.issuers.tenant_map]\n'org 7' = 'acme'"),
        "[[auth.issuers]]\nissuer = 'https://idp.example'\ntenant_map = 'hash'\n".to_owned(),
        "[[auth.issuers]]\nissuer = 'https://idp.example'\ntenant_map = 'hash'\njwks_url = 'http://127.0.0.1:7/jwks'"
            .to_owned(),
    ] {
        assert_eq!(check(&good), (true, String::new()), "{good}");
    }
    let second = "[[auth.issuers]]\nissuer = 'https://two.example'\n";
    for (bad, wanted) in [
        (issuer(""), "tenant_map is missing"),
        (issuer("tenant_map = 'prefix:'"), "identity"),
        (issuer("tenant_map = 'sub'"), "prefix:idp-"),
        (issuer("tenant_map = { x = 'Not A Name' }"), "a-z"),
        (issuer("tenant_map = 'hash'\njwks_file = 'x'"), "one of"),
        (issuer("tenant_map = 'hash'\njwks_ulr = 'x'"), "jwks_url"),
        (issuer("tenant_map = 'hash'\nissuer_ = 'x'"), "issuer"),
        ("[[auth.issuers]]\ntenant_map = 'hash'".to_owned(), "issuer is missing"),
        ("[[auth.issuers]]\nissuer = 'idp'\ntenant_map = 'hash'".to_owned(), "jwks_url"),
        ("[[auth.issuers]]\nissuer = 'http://idp.example'\ntenant_map = 'hash'".to_owned(), "jwks_url"),
        (
            "[[auth.issuers]]\nissuer = 'https://i'\ntenant_map = 'hash'\njwks_url = 'http://idp.example/'".to_owned(),
            "https",
        ),
        ("[[auth.issuers]]\nissuer = 'freehold'\ntenant_map = 'hash'\njwks_file = 'x'".to_owned(), "twice"),
        (format!("{}{}", issuer("tenant_map = 'hash'"), issuer("tenant_map = 'hash'")), "twice"),
        (format!("{}{second}tenant_map = 'prefix:idp-x-'", issuer("tenant_map = 'prefix:idp-'")), "other's tenants"),
        (format!("{}{second}tenant_map = 'hash'", issuer("tenant_map = 'identity'")), "other's tenants"),
        ("[auth]\npem_file = 'a'\njwks_file = 'b'".to_owned(), "one of"),
        ("[auth]\nissuer = ''".to_owned(), "auth.issuer"),
    ] {
        let (good, said) = check(&bad);
        assert!(!good && said.contains(wanted), "{bad}: {said}");
    }
}
