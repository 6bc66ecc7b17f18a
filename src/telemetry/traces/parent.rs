//! A caller's place in a trace of its own (W3C Trace Context), wherever it was carried: what is not to the letter is as
//! if it were not there.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// `00-` and three fields (section 3.2 there). Later versions may be longer, and begin the same.
const PARENT_BYTES: usize = 55;
const PARENT_BYTES_MAX: usize = 256;
/// What a tracestate is passed on with at least (section 3.3.1.5); a longer one is left out.
const STATE_BYTES_MAX: usize = 512;

/// `traceparent` and `tracestate` as they came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Carried<'a> {
    /// `traceparent`.
    pub parent: Option<&'a str>,
    /// `tracestate`.
    pub state: Option<&'a str>,
}

impl Carried<'_> {
    /// The span that it names, if it names one.
    pub(super) fn span(self) -> Option<SpanContext> {
        let parent = self.parent.map(str::trim)?;
        let version = parent.get(..3)?;
        let long = if version == "00-" { parent.len() != PARENT_BYTES } else { parent.len() > PARENT_BYTES_MAX };
        // The places of the dashes: an id that is too short would be taken for a small number.
        let split = [2, 35, 52].into_iter().all(|at| parent.as_bytes().get(at) == Some(&b'-'));
        if long || !split {
            return None;
        }
        let carried =
            Carried { parent: Some(parent), state: self.state.filter(|state| state.len() <= STATE_BYTES_MAX) };
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carried);
        let span = context.span().span_context().clone();
        span.is_valid().then_some(span)
    }
}

impl Extractor for Carried<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.parent,
            "tracestate" => self.state,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

#[cfg(test)]
mod tests {
    use super::Carried;

    fn of(parent: &str, state: &str) -> Option<(String, bool, String)> {
        let span = Carried { parent: Some(parent), state: Some(state) }.span()?;
        Some((format!("{}-{}", span.trace_id(), span.span_id()), span.is_sampled(), span.trace_state().header()))
    }

    #[test]
    fn a_parent_is_taken_to_the_letter_or_not_at_all() {
        let ids = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
        assert_eq!(of(&format!("00-{ids}-01"), "a=1,b=2"), Some((ids.to_owned(), true, "a=1,b=2".to_owned())));
        assert_eq!(
            of(&format!("00-{ids}-00"), "").map(|(ids, sampled, _)| (ids, sampled)),
            Some((ids.to_owned(), false))
        );
        // A version of tomorrow has more behind it.
        assert!(of(&format!("01-{ids}-01-more"), "").is_some());
        let long = "x=".to_owned() + &"y".repeat(600);
        assert_eq!(of(&format!("00-{ids}-01"), &long).map(|(.., state)| state), Some(String::new()));
        let upper = ids.to_uppercase();
        for wrong in [
            String::new(),
            "00".to_owned(),
            ids.to_owned(),
            format!("00-{ids}"),
            format!("00-{ids}-01-more"),
            format!("00-{upper}-01"),
            format!("ff-{ids}-01"),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", "0".repeat(16)),
            "00-0af-b7ad6b7169203331-01".to_owned(),
            format!("01-{ids}-01-{}", "x".repeat(300)),
            format!("00-{}é-01", &ids[..47]),
        ] {
            assert_eq!(of(&wrong, ""), None, "{wrong}");
        }
    }
}
