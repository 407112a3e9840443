//! The header field `Range` (RFC 9110, section 14).

use std::ops::Range;

/// What a client wants of a file.
pub(crate) enum Wanted {
    All,
    /// Not empty.
    Part(Range<u64>),
    /// Nothing that is there.
    Nothing,
}

/// One range of bytes is served: `bytes=1-2`, `bytes=1-` or `bytes=-2`. Of several, as of everything else that is not understood, a
/// server may make the whole. So it does of an empty file, of which there are no parts.
pub(crate) fn wanted(range: &str, length: u64) -> Wanted {
    if length == 0 {
        return Wanted::All;
    }
    match positions(range) {
        Some((None, Some(0))) => Wanted::Nothing,
        Some((None, Some(last))) => Wanted::Part(length.saturating_sub(last)..length),
        Some((Some(start), _)) if start >= length => Wanted::Nothing,
        Some((Some(start), None)) => Wanted::Part(start..length),
        Some((Some(start), Some(end))) => Wanted::Part(start..length.min(end.saturating_add(1))),
        _ => Wanted::All,
    }
}

/// The two numbers of a range.
fn positions(range: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (unit, range) = range.split_once('=')?;
    let (start, end) = range.trim().split_once('-')?;
    let (start, end) = (number(start)?, number(end)?);
    let is_backwards = start.zip(end).is_some_and(|(start, end)| start > end);
    (unit.eq_ignore_ascii_case("bytes") && !is_backwards).then_some((start, end))
}

/// `Some(None)`: nothing is written there. Numbers beyond all files are as good as the largest.
fn number(text: &str) -> Option<Option<u64>> {
    match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true if text.is_empty() => Some(None),
        true => Some(Some(text.parse().unwrap_or(u64::MAX))),
        false => None,
    }
}
