//! Other issuers: their keys by URL, and that none of them reaches beyond its own tenants.

use std::time::Duration;

use freehold::{IssuerSettings, Settings, TenantMap, TestHost};
use http::Method;
use serde_json::json;

use crate::support::provider::{Key, Provider};
use crate::support::token::Forge;
use crate::support::wire::{Answer, Ask};
use crate::support::{PATIENCE, content, plain, tree};

async fn knock(host: &TestHost, token: &str) -> Answer {
    Ask::tool("sql_query", &json!({ "sql": "SELECT 7" })).bearer(token).send(host).await
}

/// A host that takes tokens of `issuers`, and waits no time at all between two fetches.
fn host_of(tenants: &[&str], issuers: Vec<IssuerSettings>) -> TestHost {
    plain(tenants, |settings: &mut Settings| settings.auth.issuers = issuers)
}

fn eager(provider: &Provider) -> IssuerSettings {
    IssuerSettings { jwks_cooldown: Duration::ZERO, ..provider.issuer() }
}

fn now(host: &TestHost) -> u64 {
    Forge::of(host).now()
}

async fn readyz(host: &TestHost) -> u16 {
    Ask::new(Method::GET, "/readyz").send(host).await.status.as_u16()
}

/// Asks until `status` comes: a fetch is under way.
async fn until_status(host: &TestHost, token: &str, status: u16) {
    let coming = async {
        while knock(host, token).await.status != status {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, coming).await.is_ok(), "never {status}");
}

#[tokio::test]
async fn a_provider_signs_for_its_own_tenants() {
    let (provider, key) = (Provider::start().await, Key::new("k1"));
    provider.publish(&[&key]);
    let host = host_of(&["idp-acme", "acme"], vec![provider.issuer()]);
    let now = now(&host);
    let good = key.sign(&provider.claims("acme", now));
    until_status(&host, &good, 200).await;
    assert_eq!(content(&knock(&host, &good).await.json())["rows"], json!([[7]]));
    assert_eq!(readyz(&host).await, 200);
    // The host's own tokens are good beside them.
    assert_eq!(knock(&host, &host.token("acme").expect("a token")).await.status, 200);

    let changed = |claim: &str, value: serde_json::Value| {
        let mut claims = provider.claims("acme", now);
        claims[claim] = value;
        key.sign(&claims)
    };
    for (what, token) in [
        ("another audience", changed("aud", json!("freehold"))),
        ("the host's own issuer", changed("iss", json!("freehold"))),
        ("an issuer and a slash", changed("iss", json!(format!("{}/", provider.url)))),
        ("issuers", changed("iss", json!([provider.url, "freehold"]))),
        ("too long a life", changed("exp", json!(now + 25 * 3600))),
        ("an ID token", changed("token_use", json!("id"))),
        ("no key of that name", key.sign_as("k2", &provider.claims("acme", now))),
        ("another's key", Key::new("k1").sign(&provider.claims("acme", now))),
    ] {
        assert_eq!(knock(&host, &token).await.status, 401, "{what}");
    }
    // Its word for a tenant of somebody else is a name of its own, which is not there.
    for org in ["globex", "ACME", "../acme", "", "acme/"] {
        let said = knock(&host, &key.sign(&provider.claims(org, now))).await.expect_refusal(403);
        assert_eq!(said["error"]["data"]["reason"], "tenant_unknown", "{org}");
    }
    let by_number = changed("org", json!({ "id": 7 }));
    knock(&host, &by_number).await.expect_refusal(403);
    // `scp`, as some providers write it.
    let mut listed = provider.claims("acme", now);
    listed.as_object_mut().expect("an object").remove("scope");
    assert_eq!(knock(&host, &key.sign(&listed)).await.status, 401, "no scope, and none is assumed");
    listed["scp"] = json!(["read", "openid"]);
    assert_eq!(knock(&host, &key.sign(&listed)).await.status, 200);
    host.close().await;
}

/// Two issuers may use one name for two keys; each verifies its own tokens and no other's.
#[tokio::test]
async fn a_key_speaks_for_its_issuer_alone() {
    let (one, two) = (Provider::start().await, Provider::start().await);
    let (key_one, key_two) = (Key::new("same"), Key::new("same"));
    one.publish(&[&key_one]);
    two.publish(&[&key_two]);
    let second = IssuerSettings { tenant_map: Some(TenantMap::Prefix("two-".to_owned())), ..two.issuer() };
    let host = host_of(&["idp-a", "two-a"], vec![one.issuer(), second]);
    let now = now(&host);
    until_status(&host, &key_one.sign(&one.claims("a", now)), 200).await;
    until_status(&host, &key_two.sign(&two.claims("a", now)), 200).await;
    assert_eq!(knock(&host, &key_two.sign(&one.claims("a", now))).await.status, 401);
    assert_eq!(knock(&host, &key_one.sign(&two.claims("a", now))).await.status, 401);
    host.close().await;
}

#[tokio::test]
async fn keys_rotate_and_an_outage_is_none() {
    let provider = Provider::start().await;
    let (old, new) = (Key::new("old"), Key::new("new"));
    provider.publish(&[&old]);
    let host = host_of(&["idp-a"], vec![eager(&provider)]);
    let claims = provider.claims("a", now(&host));
    until_status(&host, &old.sign(&claims), 200).await;
    provider.publish(&[&old, &new]);
    until_status(&host, &new.sign(&claims), 200).await;
    assert_eq!(knock(&host, &old.sign(&claims)).await.status, 200, "both, while both are published");
    // The old one is gone, also for what was verified with it before.
    provider.publish(&[&new]);
    until_status(&host, &old.sign_as("ask-again", &claims), 401).await;
    until_status(&host, &old.sign(&claims), 401).await;
    assert_eq!(knock(&host, &new.sign(&claims)).await.status, 200);
    for outage in [(500, "down"), (200, "<html>"), (200, "{\"keys\":[]}"), (204, "")] {
        provider.say(outage.0, outage.1.into());
        let before = provider.asked().len();
        assert_eq!(knock(&host, &old.sign_as("unknown", &claims)).await.status, 401, "{outage:?}");
        assert!(provider.asked().len() > before, "it was asked");
        assert_eq!(knock(&host, &new.sign(&claims)).await.status, 200, "{outage:?}");
        assert_eq!(readyz(&host).await, 200);
    }
    host.close().await;
}

/// Made-up key names cost the provider nothing.
#[tokio::test]
async fn unknown_keys_are_asked_for_once() {
    let (provider, key) = (Provider::start().await, Key::new("k"));
    provider.publish(&[&key]);
    let host = host_of(&["idp-a"], vec![provider.issuer()]);
    let claims = provider.claims("a", now(&host));
    until_status(&host, &key.sign(&claims), 200).await;
    let before = provider.asked().len();
    for number in 0..50 {
        assert_eq!(knock(&host, &key.sign_as(&format!("made-up-{number}"), &claims)).await.status, 401);
    }
    // A cooldown of 30 s: at most the one that it may ask after the start.
    assert!(provider.asked().len() <= before + 1, "{:?}", provider.asked());
    host.close().await;
}

/// Until its keys are here nobody can say whether a token is bad.
#[tokio::test]
async fn a_start_without_the_provider_is_503_and_not_401() {
    let (provider, key) = (Provider::start().await, Key::new("k"));
    provider.say(503, Vec::new());
    let host = host_of(&["idp-a", "own"], vec![eager(&provider)]);
    let claims = provider.claims("a", now(&host));
    let refused = knock(&host, &key.sign(&claims)).await;
    refused.expect_refusal(503);
    assert!(refused.header("retry-after").parse::<u32>().is_ok_and(|after| after > 0), "{refused:?}");
    assert_eq!(readyz(&host).await, 503);
    assert_eq!(knock(&host, &host.token("own").expect("a token")).await.status, 200, "others are served");
    provider.publish(&[&key]);
    until_status(&host, &key.sign(&claims), 200).await;
    assert_eq!(readyz(&host).await, 200);
    host.close().await;
}

/// The good key among the bad ones is found, and a document that is none changes nothing.
#[tokio::test]
async fn hostile_documents() {
    let (provider, key) = (Provider::start().await, Key::new("good"));
    let (symmetric, encrypts) = (json!({ "kty": "oct", "kid": "oct", "k": "c2VjcmV0" }), Key::new("enc"));
    let mut for_encryption = encrypts.jwk();
    for_encryption["use"] = json!("enc");
    let mut numbered = Key::new("n").jwk();
    numbered["kid"] = json!(7);
    let keys = json!({ "keys": [
        symmetric, for_encryption, numbered, 7, null, { "kty": "future" }, { "kty": "RSA", "kid": "short", "n": "AQAB", "e": "AQAB" },
        { "kty": "EC", "crv": "P-521", "kid": "p521", "x": "AA", "y": "AA" }, key.jwk(),
    ]});
    provider.say(200, keys.to_string().into_bytes());
    let host = host_of(&["idp-a"], vec![eager(&provider)]);
    let claims = provider.claims("a", now(&host));
    until_status(&host, &key.sign(&claims), 200).await;
    assert_eq!(knock(&host, &encrypts.sign(&claims)).await.status, 401, "a key for encryption");
    let secret = crate::support::token::shared_secret(b"secret", &json!({ "alg": "HS256", "kid": "oct" }), &claims);
    assert_eq!(knock(&host, &secret).await.status, 401, "a published secret");

    let elsewhere = Provider::start().await;
    elsewhere.publish(&[&encrypts]);
    provider.redirect(&format!("{}/jwks", elsewhere.url));
    assert_eq!(knock(&host, &encrypts.sign(&claims)).await.status, 401);
    assert!(elsewhere.asked().is_empty(), "a redirect was followed");
    let mut large = json!({ "keys": [encrypts.jwk()] }).to_string().into_bytes();
    large.resize(1 << 20, b' ');
    provider.say(200, large);
    assert_eq!(knock(&host, &encrypts.sign(&claims)).await.status, 401, "1 MB of it");
    assert_eq!(knock(&host, &key.sign(&claims)).await.status, 200, "the old keys stay");
    // What the token brings along is not asked at all.
    let before = elsewhere.asked().len();
    let mut header = json!({ "alg": "EdDSA", "kid": "good" });
    header["jku"] = json!(format!("{}/jwks", elsewhere.url));
    header["x5u"] = header["jku"].clone();
    let forged = format!("{}.AAAA", crate::support::token::message(&header, &claims.to_string()));
    assert_eq!(knock(&host, &forged).await.status, 401);
    assert_eq!(elsewhere.asked().len(), before);
    host.close().await;
}

/// Without a `jwks_url` the issuer's own metadata names it, and has to be the issuer's own.
#[tokio::test]
async fn keys_are_found_by_the_issuer() {
    let (provider, key) = (Provider::start().await, Key::new("k"));
    let metadata =
        |issuer: &str| json!({ "issuer": issuer, "jwks_uri": format!("{}/found", provider.url), "keys": [key.jwk()] });
    provider.say(200, metadata("https://somebody.example").to_string().into_bytes());
    let issuer = || IssuerSettings { jwks_url: None, ..eager(&provider) };
    let host = host_of(&["idp-a"], vec![issuer()]);
    let claims = provider.claims("a", now(&host));
    knock(&host, &key.sign(&claims)).await.expect_refusal(503);
    assert!(!provider.asked().iter().any(|path| path == "/found"), "another issuer's word was taken");
    provider.say(200, metadata(&provider.url).to_string().into_bytes());
    until_status(&host, &key.sign(&claims), 200).await;
    assert_eq!(provider.asked().last().map(String::as_str), Some("/found"));
    assert_eq!(provider.asked()[0], "/.well-known/oauth-authorization-server");
    host.close().await;
}

/// A token for a tenant that is not there leaves nothing behind, however often it comes.
#[tokio::test]
async fn a_thousand_tokens_for_nobody_make_no_file() {
    let (provider, key) = (Provider::start().await, Key::new("k"));
    provider.publish(&[&key]);
    let host = host_of(&["idp-a"], vec![provider.issuer()]);
    let now = now(&host);
    until_status(&host, &key.sign(&provider.claims("a", now)), 200).await;
    let before = tree(host.dir());
    for number in 0..1_000 {
        knock(&host, &key.sign(&provider.claims(&format!("n{number}"), now))).await.expect_refusal(403);
    }
    assert_eq!(tree(host.dir()), before);
    host.close().await;
}
