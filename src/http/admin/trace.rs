//! The span of an operator's request, in the trace of who asks: whoever is let in here is believed. Health and metrics,
//! which are asked all the time, have none.

use std::future::pending;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use http_body::Body as _;

use super::super::until::Until;
use crate::id::TenantId;
use crate::telemetry::{Carried, Traces, Work};

/// What stands before every path that has a span.
const TRACED: &str = "/v1/";
/// What is asked of one tenant.
const OF_ONE: [&str; 12] = [
    "bookmarks",
    "checkpoint",
    "class",
    "export",
    "fork",
    "import",
    "restore",
    "resume",
    "sql",
    "suspend",
    "usage",
    "verify",
];

pub(super) async fn traced(State(traces): State<Traces>, request: Request, next: Next) -> Response {
    let asked = traces.are_on().then(|| route(request.uri().path())).flatten();
    let Some((route, tenant)) = asked else { return next.run(request).await };
    let hold = traces.begin_work(|| work(&request, route, tenant));
    let answer = next.run(request).await;
    let Some(hold) = hold else { return answer };
    hold.trace().served(answer.status().as_u16());
    if answer.body().size_hint().exact().is_some() {
        return answer;
    }
    // It goes on for as long as its answer does.
    answer.map(|body| Body::new(Until::new(body, hold, pending())))
}

/// What the router calls `path`, and whom it is about. Of what it has no name for there is no span: names are few.
fn route(path: &str) -> Option<(String, Option<TenantId>)> {
    let segments: Vec<&str> = path.strip_prefix(TRACED)?.split('/').collect();
    Some(match segments[..] {
        ["top" | "tenants" | "restore" | "verify" | "migrations"] | ["migrations", "plan" | "apply"] => {
            (path.to_owned(), None)
        }
        ["tenants", id] => (format!("{TRACED}tenants/{{id}}"), TenantId::parse(id).ok()),
        ["tenants", id, what] if OF_ONE.contains(&what) => {
            (format!("{TRACED}tenants/{{id}}/{what}"), TenantId::parse(id).ok())
        }
        _ => return None,
    })
}

fn work(request: &Request, route: String, tenant: Option<TenantId>) -> Work<'_> {
    // A word of the caller's is none of the methods that there are.
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "PATCH" | "OPTIONS") => known,
        _ => "HTTP",
    };
    let name = format!("{method} {route}");
    let mut about = vec![
        ("http.request.method", if method == "HTTP" { "_OTHER" } else { method }.to_owned()),
        ("http.route", route),
        ("url.scheme", "http".to_owned()),
    ];
    about.extend(tenant.map(|tenant| ("tenant.id", tenant.to_string())));
    let text = |name: &str| one(request.headers(), name);
    Work {
        begun: Instant::now(),
        name,
        asked: true,
        carried: Carried { parent: text("traceparent"), state: text("tracestate") },
        about,
    }
}

/// A header that is there once.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next().filter(|_| all.next().is_none());
    first.and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::route;

    /// A route that was added and not named here would have no span.
    #[test]
    fn every_route_has_its_name() {
        let routes = include_str!("mod.rs").split(".route(\"/v1/").skip(1);
        let routes: Vec<_> = routes.filter_map(|rest| Some(format!("/v1/{}", rest.split('"').next()?))).collect();
        assert!(routes.len() > 15, "{routes:?}");
        for path in routes {
            let (named, tenant) = route(&path.replace("{id}", "acme")).unwrap_or_else(|| panic!("{path} has no name"));
            assert_eq!((named, tenant.is_some()), (path.clone(), path.contains("{id}")));
        }
        for path in ["/metrics", "/v1/elsewhere", "/v1/tenants/acme/elsewhere", "/v1/tenants/acme/sql/more", "/v1/"] {
            assert!(route(path).is_none(), "{path}");
        }
    }
}
