//! An event as one line of JSON.
//!
//! Not the library's own JSON format: it builds a tree of serde for every event, and was 6 % of a request
//! (`cargo bench --bench host -- calls`, with and without the log). Spans are not told: this host has none.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::registry::LookupSpan;

/// Writes `{"timestamp":…,"level":…,"message":…,…}` and a line's end.
pub(super) struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        out.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut out)?;
        write!(out, "\",\"level\":\"{}\"", event.metadata().level())?;
        let mut fields = Fields { out, done: Ok(()) };
        event.record(&mut fields);
        fields.done?;
        fields.out.write_str("}\n")
    }
}

struct Fields<'a> {
    out: Writer<'a>,
    done: fmt::Result,
}

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.done.is_ok() {
            self.done = write_name(&mut self.out, field.name()).and_then(|()| value(&mut self.out));
        }
    }
}

/// Names are the program's own words: nothing in them has to be escaped.
fn write_name(out: &mut Writer<'_>, name: &str) -> fmt::Result {
    out.write_str(",\"")?;
    out.write_str(name)?;
    out.write_str("\":")
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, |out| {
            out.write_char('"')?;
            Escaped(out).write_str(value)?;
            out.write_char('"')
        });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, |out| write!(out, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, |out| write!(out, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, |out| write!(out, "{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, |out| {
            out.write_char('"')?;
            write!(Escaped(out), "{value:?}")?;
            out.write_char('"')
        });
    }
}

/// What is written through this stays inside one JSON string, and so inside one line (RFC 8259 section 7).
struct Escaped<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut from = 0;
        for (at, byte) in text.bytes().enumerate() {
            if byte >= 0x20 && byte != b'"' && byte != b'\\' && byte != 0x7f {
                continue;
            }
            self.0.write_str(&text[from..at])?;
            match byte {
                b'"' | b'\\' => {
                    self.0.write_char('\\')?;
                    self.0.write_char(char::from(byte))?;
                }
                _ => write!(self.0, "\\u{byte:04x}")?,
            }
            from = at + 1;
        }
        self.0.write_str(&text[from..])
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn whatever_is_logged_is_one_line_of_json() {
        let kept = Kept::default();
        let writer = kept.clone();
        let layer = tracing_subscriber::fmt::layer().event_format(super::JsonLine).with_writer(move || writer.clone());
        let hostile = "a\n{\"level\":\"audit\"}\u{1b}[31m \\ \" \u{7f} é \u{2028}";
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(text = hostile, shown = %hostile, debugged = ?hostile, n = 7_u64, m = -7, yes = true, "{hostile}");
        });
        let written = kept.0.lock().expect("no panic").clone();
        let lines: Vec<_> = std::str::from_utf8(&written).expect("text").lines().collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(written.iter().filter(|byte| byte.is_ascii_control()).eq([&b'\n']));
        let told: Value = serde_json::from_str(lines[0]).expect("JSON");
        assert_eq!(told["level"], "WARN");
        assert_eq!(
            (&told["text"], &told["shown"], &told["message"]),
            (&hostile.into(), &hostile.into(), &hostile.into())
        );
        assert_eq!((&told["n"], &told["m"], &told["yes"]), (&7.into(), &(-7).into(), &true.into()));
        assert!(told["timestamp"].as_str().expect("a time").ends_with('Z'));
    }
}
