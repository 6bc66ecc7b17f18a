//! Owns the framing of HTTP/1.1 responses: where one ends in the bytes read so far, and its body.
//! It knows `Content-Length` and chunks; a body that ends with the connection is malformed here.

/// No body in a bench comes near this; more is a server gone wrong.
const BODY_BYTES_MAX: usize = 16 << 20;
const HEAD_BYTES_MAX: usize = 64 << 10;

/// One whole response at the front of the buffer.
#[derive(Debug, PartialEq)]
pub struct Response<'a> {
    pub status: u16,
    pub body: &'a [u8],
    /// How many bytes of the buffer it took.
    pub len: usize,
}

#[derive(Debug, PartialEq)]
pub struct Malformed;

enum Framing {
    Length(usize),
    Chunked,
}

/// The response at the front of `bytes`, or `None` while there is not all of it. Chunks are joined
/// in `scratch`. It starts over at each call: the responses of a bench come in one to three reads.
pub fn parse<'a>(bytes: &'a [u8], scratch: &'a mut Vec<u8>) -> Result<Option<Response<'a>>, Malformed> {
    let Some(head_len) = find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > HEAD_BYTES_MAX { Err(Malformed) } else { Ok(None) };
    };
    let (status, framing) = parse_head(&bytes[..head_len])?;
    let start = head_len + 4;
    let rest = &bytes[start..];
    match framing {
        Framing::Length(len) if len > BODY_BYTES_MAX => Err(Malformed),
        Framing::Length(len) => {
            let body = rest.get(..len);
            Ok(body.map(|body| Response { status, body, len: start + len }))
        }
        Framing::Chunked => {
            let joined = join_chunks(rest, scratch)?;
            Ok(joined.map(|len| Response { status, body: scratch, len: start + len }))
        }
    }
}

fn parse_head(head: &[u8]) -> Result<(u16, Framing), Malformed> {
    let head = std::str::from_utf8(head).map_err(|_| Malformed)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let status = status.and_then(|line| line.get(..3)?.parse().ok()).ok_or(Malformed)?;
    let mut framing = None;
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(Malformed)?;
        let found = if name.eq_ignore_ascii_case("content-length") {
            Framing::Length(value.trim().parse().map_err(|_| Malformed)?)
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if !value.trim().eq_ignore_ascii_case("chunked") {
                return Err(Malformed);
            }
            Framing::Chunked
        } else {
            continue;
        };
        if framing.replace(found).is_some() {
            return Err(Malformed);
        }
    }
    Ok((status, framing.ok_or(Malformed)?))
}

/// Joins the chunks of `bytes` in `body`: the bytes they took, or `None` before the last is whole.
fn join_chunks(bytes: &[u8], body: &mut Vec<u8>) -> Result<Option<usize>, Malformed> {
    body.clear();
    let mut at = 0;
    loop {
        let Some(line_len) = find(&bytes[at..], b"\r\n") else {
            return Ok(None);
        };
        let line = std::str::from_utf8(&bytes[at..at + line_len]).map_err(|_| Malformed)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| Malformed)?;
        at += line_len + 2;
        if size == 0 {
            return Ok(end_of_trailers(&bytes[at..]).map(|len| at + len));
        }
        if size > BODY_BYTES_MAX || body.len() + size > BODY_BYTES_MAX {
            return Err(Malformed);
        }
        let Some(chunk) = bytes.get(at..at + size + 2) else {
            return Ok(None);
        };
        if !chunk.ends_with(b"\r\n") {
            return Err(Malformed);
        }
        body.extend_from_slice(&chunk[..size]);
        at += size + 2;
    }
}

/// The trailers, which may be none, end with an empty line.
fn end_of_trailers(bytes: &[u8]) -> Option<usize> {
    if bytes.starts_with(b"\r\n") {
        return Some(2);
    }
    find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// Where `needle` begins.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|&byte| byte == first) {
        if bytes[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}
