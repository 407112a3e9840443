//! The head of a request, as far as a server of files needs it.

use crate::response::{Method, Status};
use httparse::{Error, Header, Status as Progress};

/// The longest target of a request, in bytes.
const MAX_TARGET: usize = 8 << 10;

/// The most header fields.
const MAX_FIELDS: usize = 64;

pub(crate) struct Request {
    pub(crate) method: Method,
    /// As it came: see [`Target`](crate::target::Target).
    pub(crate) target: String,
    /// Whether the client wants to go on after the answer.
    pub(crate) keep_alive: bool,
    pub(crate) body: Body,
    pub(crate) range: Option<String>,
    pub(crate) if_range: Option<String>,
    pub(crate) if_none_match: Option<String>,
    pub(crate) if_modified_since: Option<String>,
}

/// What follows the head.
pub(crate) enum Body {
    Bytes(u64),
    /// Of a length that only a reader knows, or nothing at all if the client waits for a word first.
    Unknown,
}

/// The request at the beginning of `bytes`, and how long its head is; `None` if it is not complete.
///
/// # Errors
/// Why there is none and never will be.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, Status> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let length = match head.parse(bytes) {
        Ok(Progress::Complete(length)) => length,
        Ok(Progress::Partial) => return Ok(None),
        Err(Error::TooManyHeaders) => return Err(Status::HEAD_TOO_LARGE),
        Err(Error::Version) => return Err(Status::VERSION),
        Err(_) => return Err(Status::BAD_REQUEST),
    };
    let (method, target) = (head.method.unwrap_or_default(), head.path.unwrap_or_default());
    if target.len() > MAX_TARGET {
        return Err(Status::TARGET_TOO_LONG);
    }
    let is_1_0 = head.version == Some(0);
    let fields = Fields(head.headers);
    if !is_1_0 && fields.count("host") != 1 {
        return Err(Status::BAD_REQUEST);
    }
    if fields
        .get("expect")
        .is_some_and(|what| !what.eq_ignore_ascii_case("100-continue"))
    {
        return Err(Status::EXPECTATION);
    }
    let request = Request {
        body: body(&fields)?,
        method: known(method)?,
        target: target.to_owned(),
        keep_alive: match is_1_0 {
            true => fields.lists("connection", "keep-alive"),
            false => !fields.lists("connection", "close"),
        },
        range: fields.get("range"),
        if_range: fields.get("if-range"),
        if_none_match: fields.get("if-none-match"),
        if_modified_since: fields.get("if-modified-since"),
    };
    Ok(Some((request, length)))
}

fn known(method: &str) -> Result<Method, Status> {
    match method {
        "GET" => Ok(Method::Get),
        "HEAD" => Ok(Method::Head),
        "POST" | "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE" | "PATCH" => Err(Status::METHOD),
        _ => Err(Status::NOT_IMPLEMENTED),
    }
}

/// A body that is not announced by a length alone is not read: nobody who reads ahead of us can disagree about where it ends then.
fn body(fields: &Fields<'_, '_>) -> Result<Body, Status> {
    let length = match fields.get("content-length") {
        None if fields.count("content-length") == 0 => 0,
        // A list of two lengths is no number either.
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().map_err(|_| Status::BAD_REQUEST)?,
        _ => return Err(Status::BAD_REQUEST),
    };
    match fields.count("transfer-encoding") > 0 || (length > 0 && fields.count("expect") > 0) {
        true => Ok(Body::Unknown),
        false => Ok(Body::Bytes(length)),
    }
}

struct Fields<'h, 'b>(&'h [Header<'b>]);

impl Fields<'_, '_> {
    fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let named = self.0.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value)
    }

    fn count(&self, name: &str) -> usize {
        self.all(name).count()
    }

    /// The values of all fields of that name, as one list, unless one of them is no text.
    fn get(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self
            .all(name)
            .map(|value| str::from_utf8(value).ok())
            .collect::<Option<_>>()?;
        (!values.is_empty()).then(|| values.join(", ").trim().to_owned())
    }

    /// Whether the list of that name has the word.
    fn lists(&self, name: &str, word: &str) -> bool {
        let mut items = self.all(name).flat_map(|list| list.split(|byte| *byte == b','));
        items.any(|item| item.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    }
}
