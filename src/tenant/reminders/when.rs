//! `when`, as an agent says it: once, at an interval, or by the calendar of a time zone.

use std::str::FromStr;
use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp, Zoned};

use crate::clock::millis;
use crate::error::{Error, Result};

/// Further ahead than anyone means: a slip of the pen, not a plan.
const YEARS_AHEAD: i64 = 10;

const FORMS: &str = "write `in 2h`, a time with its offset such as `2030-01-31T09:00:00+01:00`, `every 15m`, \
                     or five cron fields and a time zone such as `0 9 * * 1-5 Europe/Berlin`";

/// What an agent asked for.
#[derive(Debug)]
pub(super) struct When {
    /// The first time, in milliseconds since 1970.
    pub first: i64,
    /// How it repeats, if it does.
    pub rule: Option<Rule>,
}

/// How a reminder repeats.
#[derive(Debug)]
pub(super) enum Rule {
    /// Every so many milliseconds, in step with the first time.
    Every(i64),
    /// When a clock on the wall of that zone shows what the pattern says.
    Cron(Box<Cron>, TimeZone),
}

impl When {
    /// Reads `text` at `now`; `shortest` is the shortest interval allowed.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with the forms that there are, or
    /// [`ErrorKind::Limit`](crate::ErrorKind::Limit) for an interval that is too short.
    pub(super) fn parse(text: &str, now: i64, shortest: Duration) -> Result<Self> {
        let text = text.trim();
        let first = if let Some(span) = text.strip_prefix("in ") {
            let later = Span::from_str(span.trim()).and_then(|span| zoned(now, TimeZone::UTC)?.checked_add(span));
            later.map_err(unclear)?.timestamp()
        } else if let Ok(at) = Timestamp::from_str(text) {
            at
        } else if let Ok(at) = Zoned::from_str(text) {
            at.timestamp()
        } else {
            let rule = Rule::parse(text)?;
            if let Rule::Every(millis) = rule
                && u128::try_from(millis).unwrap_or(0) < shortest.as_millis()
            {
                return Err(too_often(shortest));
            }
            return Ok(Self { first: rule.next(now, now)?, rule: Some(rule) });
        };
        let first = first.as_millisecond();
        if first <= now {
            return Err(Error::invalid(format!("that time has passed: it is {} now", said(now))));
        }
        if first - now > YEARS_AHEAD * 366 * 24 * 3_600_000 {
            return Err(Error::invalid(format!("that is more than {YEARS_AHEAD} years ahead: choose a nearer time")));
        }
        Ok(Self { first, rule: None })
    }
}

impl Rule {
    /// Reads what repeats: `every …`, or cron fields and perhaps a zone.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), with the forms that there are.
    pub(super) fn parse(text: &str) -> Result<Self> {
        if let Some(span) = text.strip_prefix("every ") {
            let every = Span::from_str(span.trim())
                .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
                .map_err(unclear)?;
            return Ok(Self::Every(i64::try_from(every.as_millis()).unwrap_or(i64::MAX)));
        }
        let text = text.strip_prefix("cron ").unwrap_or(text).trim();
        let fields = if text.starts_with('@') { 1 } else { 5 };
        let words: Vec<&str> = text.split_whitespace().collect();
        let zone = match words.get(fields..) {
            Some([]) => TimeZone::UTC,
            Some([name]) => TimeZone::get(name).map_err(|error| {
                Error::invalid(format!("there is no time zone {name:?}: use a name such as Europe/Berlin"))
                    .with_source(error)
            })?,
            _ => return Err(Error::invalid(format!("`when` is not understood: {FORMS}"))),
        };
        let pattern = words[..fields].join(" ");
        let cron = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build().parse(&pattern);
        let cron =
            cron.map_err(|error| Error::invalid(format!("the cron pattern is not understood: {error}; {FORMS}")))?;
        Ok(Self::Cron(Box::new(cron), zone))
    }

    /// The first time after `now` for what was last due at `due_at`. What was missed in between is not made up
    /// for.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when there is none: 30 February.
    pub(super) fn next(&self, due_at: i64, now: i64) -> Result<i64> {
        match self {
            Self::Every(millis) => {
                let missed = (now.max(due_at) - due_at) / (*millis).max(1);
                millis
                    .checked_mul(missed + 1)
                    .and_then(|ahead| due_at.checked_add(ahead))
                    .filter(|at| Timestamp::from_millisecond(*at).is_ok())
                    .ok_or_else(|| Error::invalid("the interval is too long"))
            }
            Self::Cron(cron, zone) => {
                let from = zoned(now.max(due_at), zone.clone()).map_err(unclear)?;
                let next = cron.find_next_occurrence(&from, false);
                let next = next.map_err(|error| Error::invalid("that never comes").with_source(error))?;
                Ok(next.timestamp().as_millisecond())
            }
        }
    }
}

/// A time as agents are told it: RFC 3339, in UTC, to the second.
pub(crate) fn said(millis: i64) -> String {
    let at = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn zoned(millis: i64, zone: TimeZone) -> Result<Zoned, jiff::Error> {
    Ok(Timestamp::from_millisecond(millis)?.to_zoned(zone))
}

fn unclear(error: jiff::Error) -> Error {
    Error::invalid(format!("`when` is not understood: {FORMS}")).with_source(error)
}

fn too_often(shortest: Duration) -> Error {
    let said = format!("an interval is at least {}: choose a longer one", humantime::format_duration(shortest));
    Error::limit("reminder_interval", millis(shortest), said)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(text: &str) -> i64 {
        Timestamp::from_str(text).expect("a time").as_millisecond()
    }

    fn times(when: &str, from: &str, count: usize) -> Vec<String> {
        let when = When::parse(when, at(from), MINUTE).expect(when);
        let rule = when.rule.expect("a rule");
        let step = |last: &i64| Some(rule.next(*last, *last).expect("a next time"));
        std::iter::successors(Some(when.first), step).take(count).map(said).collect()
    }

    #[test]
    fn once() {
        let now = at("2030-01-01T00:00:00Z");
        for (text, first) in [
            ("in 2h", "2030-01-01T02:00:00Z"),
            ("in 1 hour 30 min", "2030-01-01T01:30:00Z"),
            ("in 1 day", "2030-01-02T00:00:00Z"),
            ("in 1 month", "2030-02-01T00:00:00Z"),
            (" in 90s ", "2030-01-01T00:01:30Z"),
            ("2030-01-31T09:00:00+01:00", "2030-01-31T08:00:00Z"),
            ("2030-07-01T09:00:00Z", "2030-07-01T09:00:00Z"),
            ("2030-07-01T09:00[Europe/Berlin]", "2030-07-01T07:00:00Z"),
        ] {
            let when = When::parse(text, now, MINUTE).expect(text);
            assert_eq!(said(when.first), first, "{text}");
            assert!(when.rule.is_none(), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_forms() {
        let now = at("2030-01-01T00:00:00Z");
        for (text, why) in [
            ("", "not understood"),
            ("tomorrow", "not understood"),
            ("in a while", "not understood"),
            ("in -2h", "has passed"),
            ("in 0s", "has passed"),
            ("2029-12-31T23:59:59Z", "has passed"),
            ("2030-01-01T09:00:00", "not understood"),
            ("in 11 years", "years ahead"),
            ("in 99999999999 years", "not understood"),
            ("every 59s", "at least 1m"),
            ("every -1h", "at least 1m"),
            ("every 1 month", "not understood"),
            ("61 * * * *", "cron pattern"),
            ("* * * * * *", "no time zone"),
            ("* * * * * Europe/Nowhere", "no time zone"),
            ("0 0 30 2 *", "never comes"),
            ("0 9 * * 1-5 Europe/Berlin extra", "not understood"),
        ] {
            let refused = When::parse(text, now, MINUTE).expect_err(text).to_string();
            assert!(refused.contains(why), "{text:?}: {refused}");
        }
    }

    #[test]
    fn intervals_keep_step_and_skip_what_was_missed() {
        assert_eq!(
            times("every 15m", "2030-01-01T00:00:00Z", 3),
            ["2030-01-01T00:15:00Z", "2030-01-01T00:30:00Z", "2030-01-01T00:45:00Z"]
        );
        let rule = Rule::parse("every 15m").expect("a rule");
        let (due, now) = (at("2030-01-01T00:15:00Z"), at("2030-01-01T07:20:00Z"));
        assert_eq!(said(rule.next(due, now).expect("a time")), "2030-01-01T07:30:00Z");
    }

    #[test]
    fn the_clock_on_the_wall_changes_twice_a_year() {
        // An hour that is not there: right after it.
        assert_eq!(
            times("30 2 * * * Europe/Berlin", "2030-03-30T12:00:00Z", 2),
            ["2030-03-31T01:00:00Z", "2030-04-01T00:30:00Z"]
        );
        // An hour that is there twice: once.
        assert_eq!(
            times("30 2 * * * Europe/Berlin", "2030-10-26T12:00:00Z", 2),
            ["2030-10-27T00:30:00Z", "2030-10-28T01:30:00Z"]
        );
        // Nine in the morning stays nine in the morning.
        assert_eq!(
            times("0 9 * * * America/New_York", "2030-03-09T00:00:00Z", 3),
            ["2030-03-09T14:00:00Z", "2030-03-10T13:00:00Z", "2030-03-11T13:00:00Z"]
        );
        assert_eq!(times("@daily", "2030-03-30T12:00:00Z", 1), ["2030-03-31T00:00:00Z"]);
        assert_eq!(times("cron 0 9 * * 1-5 europe/berlin", "2030-03-29T12:00:00Z", 1), ["2030-04-01T07:00:00Z"]);
    }
}
