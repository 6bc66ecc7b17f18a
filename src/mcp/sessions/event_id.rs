//! The ids of events: which stream of which life of a session, which event of it, which requests it answers.
//!
//! `<mark>-<stream>-<event>[-<requests>]`. The mark is drawn each time a session comes into memory, so that no
//! two lives of it name two events alike, and is bound to the session, so that another session's id is known for
//! one. The requests' own ids let a host that knows no more of a stream than this (the process was killed under
//! the call) still answer them, rather than leave its client waiting.

use aws_lc_rs::digest;
use rmcp::model::RequestId;

use crate::hex::hex;
use crate::random;

/// As JSON. Longer ones are left out: an id is sent with every event.
const REQUESTS_MAX: usize = 512;
const HALF: usize = 6;

/// An id, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EventId {
    /// Mark and number of the stream.
    pub stream: String,
    /// Whether it is the stream of a GET.
    pub standalone: bool,
    pub seq: u64,
    pub requests: Vec<RequestId>,
}

/// A new mark of `session`.
pub(super) fn new_mark(session: &str) -> String {
    // It fails where there is no randomness at all, and there no key was made and no token verified.
    let drawn = random::bytes::<HALF>().unwrap_or_default();
    format!("{}{}", hex(&drawn), bound(session, &hex(&drawn)))
}

/// A new session's id: 128 bits that nobody can guess.
pub(super) fn new_session_id() -> Option<String> {
    Some(hex(&random::bytes::<16>().ok()?))
}

/// The name of a stream.
pub(super) fn stream_name(mark: &str, number: u64) -> String {
    format!("{mark}-{number}")
}

/// How the ids of a stream end that answers `requests`.
pub(super) fn tail(requests: &[RequestId]) -> String {
    let json = match requests {
        [] => return String::new(),
        [one] => serde_json::to_string(one),
        several => serde_json::to_string(several),
    };
    let json = json.ok().filter(|json| json.len() <= REQUESTS_MAX);
    json.map_or_else(String::new, |json| format!("-{}", hex(json.as_bytes())))
}

/// The id of event `seq` of `stream`, whose ids end with `tail`.
pub(super) fn event_id(stream: &str, seq: u64, tail: &str) -> String {
    format!("{stream}-{seq}{tail}")
}

impl EventId {
    /// The id `text`, if it is one of `session`.
    pub(super) fn parse(session: &str, text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (mark, number, seq) = (parts.next()?, parts.next()?, parts.next()?);
        let (drawn, rest) = mark.split_at_checked(2 * HALF)?;
        if rest != bound(session, drawn) {
            return None;
        }
        let requests = match parts.next() {
            Some(json) if json.len() <= 2 * REQUESTS_MAX => requests_of(&unhex(json)?)?,
            Some(_) => return None,
            None => Vec::new(),
        };
        let number: u64 = number.parse().ok()?;
        let (stream, standalone) = (stream_name(mark, number), number == 0);
        Some(Self { stream, standalone, seq: seq.parse().ok()?, requests })
    }
}

fn requests_of(json: &[u8]) -> Option<Vec<RequestId>> {
    if json.starts_with(b"[") {
        return serde_json::from_slice(json).ok();
    }
    serde_json::from_slice(json).ok().map(|one| vec![one])
}

fn bound(session: &str, drawn: &str) -> String {
    let digest = digest::digest(&digest::SHA256, format!("{session}\n{drawn}").as_bytes());
    hex(&digest.as_ref()[..HALF])
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes().chunks(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use rmcp::model::RequestId;

    use super::{EventId, event_id, new_mark, stream_name, tail};

    #[test]
    fn an_id_comes_back_whole_and_only_to_its_session() {
        let stream = stream_name(&new_mark("mine"), 3);
        let (number, text) = (RequestId::Number(-7), RequestId::String("a-b/\u{e9}".into()));
        for requests in [vec![], vec![number.clone()], vec![text.clone()], vec![text, number]] {
            let id = event_id(&stream, 12, &tail(&requests));
            let parsed = EventId::parse("mine", &id).expect("an id of ours");
            assert_eq!(
                (&parsed.stream, parsed.seq, parsed.standalone, &parsed.requests),
                (&stream, 12, false, &requests)
            );
            assert!(EventId::parse("theirs", &id).is_none());
        }
    }

    #[test]
    fn what_is_no_id_is_none() {
        let mark = new_mark("s");
        for wrong in [
            "",
            "0",
            "-",
            "---",
            "é-1-1",
            "5",
            &mark,
            &format!("{mark}-1"),
            &format!("{mark}-1-x"),
            &format!("{mark}-1-1-zz"),
            &format!("{mark}-1-1-0"),
        ] {
            assert!(EventId::parse("s", wrong).is_none(), "{wrong}");
        }
    }
}
