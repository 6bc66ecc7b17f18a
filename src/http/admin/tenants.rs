//! `/v1/tenants`.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode, Uri};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::json;

use super::{Desk, Said, body, ok, query, said};
use crate::admin::{Source, Statement};
use crate::config::DEFAULT_CLASS;
use crate::error::Error;
use crate::id::TenantId;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    id: String,
    #[serde(default = "default_class")]
    class: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Class {
    #[serde(default = "default_class")]
    class: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fork {
    to: String,
    at: Option<String>,
    #[serde(default)]
    from_remote: bool,
}

/// A time in the past: the present without it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Time {
    at: Option<String>,
    #[serde(default)]
    from_remote: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Label {
    label: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct From {
    #[serde(default)]
    from_remote: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Days {
    days: Option<usize>,
}

/// Days of usage that are told unless others are asked for.
const DAYS: usize = 31;

fn default_class() -> String {
    DEFAULT_CLASS.to_owned()
}

pub(super) async fn list(State(desk): State<Desk>, uri: Uri) -> Said {
    let Page { after, limit } = query(&uri)?;
    let after = after.map(|after| TenantId::parse(&after)).transpose()?;
    ok(&desk.admin.list(after, limit).await?)
}

pub(super) async fn create(State(desk): State<Desk>, sent: Bytes) -> Said {
    let Create { id, class } = body(&sent)?;
    Ok(said(StatusCode::CREATED, &desk.admin.create(TenantId::parse(&id)?, class).await?))
}

pub(super) async fn show(State(desk): State<Desk>, Path(id): Path<String>) -> Said {
    ok(&desk.admin.show(TenantId::parse(&id)?).await?)
}

pub(super) async fn class(State(desk): State<Desk>, Path(id): Path<String>, sent: Bytes) -> Said {
    let Class { class } = body(&sent)?;
    ok(&desk.admin.set_class(TenantId::parse(&id)?, class).await?)
}

pub(super) async fn suspend(State(desk): State<Desk>, Path(id): Path<String>) -> Said {
    ok(&desk.admin.suspend(TenantId::parse(&id)?, true).await?)
}

pub(super) async fn resume(State(desk): State<Desk>, Path(id): Path<String>) -> Said {
    ok(&desk.admin.suspend(TenantId::parse(&id)?, false).await?)
}

pub(super) async fn delete(State(desk): State<Desk>, Path(id): Path<String>) -> Said {
    ok(&json!(desk.admin.delete(TenantId::parse(&id)?).await?))
}

pub(super) async fn fork(State(desk): State<Desk>, Path(id): Path<String>, sent: Bytes) -> Said {
    let Fork { to, at, from_remote } = body(&sent)?;
    let (from, to) = (TenantId::parse(&id)?, TenantId::parse(&to)?);
    let made = desk.admin.fork(from, to, at, Source::of(from_remote)).await?;
    Ok(said(StatusCode::CREATED, &made))
}

pub(super) async fn sql(State(desk): State<Desk>, Path(id): Path<String>, sent: Bytes) -> Said {
    let statement: Statement = body(&sent)?;
    ok(&desk.admin.sql(TenantId::parse(&id)?, statement).await?)
}

pub(super) async fn checkpoint(State(desk): State<Desk>, Path(id): Path<String>, sent: Bytes) -> Said {
    let Label { label } = body(&sent)?;
    Ok(said(StatusCode::CREATED, &desk.admin.checkpoint(TenantId::parse(&id)?, label).await?))
}

pub(super) async fn bookmarks(State(desk): State<Desk>, Path(id): Path<String>, uri: Uri) -> Said {
    let From { from_remote } = query(&uri)?;
    ok(&desk.admin.bookmarks(TenantId::parse(&id)?, Source::of(from_remote)).await?)
}

pub(super) async fn restore(State(desk): State<Desk>, Path(id): Path<String>, sent: Bytes) -> Said {
    let Time { at, from_remote } = body(&sent)?;
    ok(&desk.admin.restore(TenantId::parse(&id)?, at, Source::of(from_remote)).await?)
}

pub(super) async fn usage(State(desk): State<Desk>, Path(id): Path<String>, uri: Uri) -> Said {
    let Days { days } = query(&uri)?;
    ok(&desk.admin.usage(TenantId::parse(&id)?, days.unwrap_or(DAYS)).await?)
}

pub(super) async fn verify(State(desk): State<Desk>, Path(id): Path<String>, sent: Bytes) -> Said {
    let Time { at, from_remote } = body(&sent)?;
    ok(&desk.admin.verify(TenantId::parse(&id)?, at, Source::of(from_remote)).await?)
}

/// The copy, as bytes; the tenant is this request's own until the last of them is sent.
pub(super) async fn export(State(desk): State<Desk>, Path(id): Path<String>, uri: Uri) -> Said {
    let Time { at, from_remote } = query(&uri)?;
    let exported = desk.admin.export(TenantId::parse(&id)?, at, Source::of(from_remote)).await?;
    let bytes = exported.bytes;
    let chunks = stream::try_unfold(exported, async |exported| {
        let read = exported.next().await;
        // The answer has begun: it breaks off, and its length tells the client that it did.
        read.inspect_err(|error| tracing::error!(error = error.chain(), "an export broke off"))
    });
    let mut answer = Body::from_stream(chunks).into_response();
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/vnd.sqlite3"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    Ok(answer)
}

pub(super) async fn import(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    uri: Uri,
    mut file: Body,
) -> Said<Response> {
    let Class { class } = query(&uri)?;
    let mut arriving = desk.admin.import(TenantId::parse(&id)?, class)?;
    while let Some(frame) = file.frame().await {
        let frame = frame.map_err(|error| Error::invalid("the file broke off").with_source(error))?;
        if let Ok(bytes) = frame.into_data() {
            arriving = arriving.take_in(bytes).await?;
        }
    }
    Ok(said(StatusCode::CREATED, &arriving.end().await?))
}
