//! `/v1/migrations`, `/v1/restore` and `/v1/verify`: all tenants. Long work answers at once, a JSON object a line, and goes on for as long as somebody reads.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::Uri;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use tokio::sync::mpsc::Receiver;

use super::{Desk, Said, body, ok, query};
use crate::admin::{Apply, BringBack, Step, VerifyAll};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    after: String,
}

pub(super) async fn status(State(desk): State<Desk>, uri: Uri) -> Said {
    let Page { after } = query(&uri)?;
    ok(&desk.admin.fleet_status(after).await?)
}

pub(super) async fn plan(State(desk): State<Desk>) -> Response {
    lines(desk.admin.plan())
}

pub(super) async fn apply(State(desk): State<Desk>, sent: Bytes) -> Said {
    let apply: Apply = body(&sent)?;
    Ok(lines(desk.admin.apply(apply)))
}

pub(super) async fn restore(State(desk): State<Desk>, sent: Bytes) -> Said {
    let asked: BringBack = body(&sent)?;
    Ok(lines(desk.admin.bring_back_all(asked)))
}

pub(super) async fn verify(State(desk): State<Desk>, sent: Bytes) -> Said {
    let asked: VerifyAll = body(&sent)?;
    Ok(lines(desk.admin.verify_all(asked)))
}

fn lines(steps: Receiver<Step>) -> Response {
    let told = stream::unfold(steps, async |mut steps| {
        let step = steps.recv().await?;
        Some((Ok::<_, Infallible>(Bytes::from(format!("{step}\n"))), steps))
    });
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(told)).into_response()
}
