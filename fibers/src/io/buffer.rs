//! Bytes that have been read and not been taken: what the readers with operations keep.
//!
//! Pure: reading is a function that is passed in. If that fails, with `WouldBlock` or another error, all that was read before is still
//! here, and the next call goes on with it.

use super::stream::ReadCall;
use super::too_long;
use std::io::{self, BufRead};

#[derive(Debug)]
pub(super) struct Buffer {
    /// All of it is initialised; as long as the room that there is.
    bytes: Vec<u8>,
    /// The unread ones are `from..to`.
    from: usize,
    to: usize,
    /// Of the unread ones so many are known not to be the delimiter.
    searched: usize,
    delimiter: u8,
    /// The room there is when nothing long is read.
    capacity: usize,
}

impl Buffer {
    /// Allocates nothing before the first read.
    pub(super) fn new(capacity: usize) -> Buffer {
        Buffer {
            bytes: Vec::new(),
            from: 0,
            to: 0,
            searched: 0,
            delimiter: 0,
            capacity: capacity.max(1),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.from..self.to]
    }

    /// Forgets so many bytes, or all.
    pub(super) fn consume(&mut self, count: usize) {
        self.from = (self.from + count).min(self.to);
        self.searched = self.searched.saturating_sub(count);
    }

    /// The unread bytes, for good.
    pub(super) fn into_unread(mut self) -> Vec<u8> {
        self.bytes.truncate(self.to);
        self.bytes.drain(..self.from);
        self.bytes
    }

    /// Moves unread bytes into `target`.
    pub(super) fn take(&mut self, target: &mut [u8]) -> usize {
        let count = target.len().min(self.unread().len());
        target[..count].copy_from_slice(&self.unread()[..count]);
        self.consume(count);
        count
    }

    /// Reads once, behind what is there. Room is made for `most` unread bytes at most, or for the capacity.
    pub(super) fn fill(&mut self, most: usize, read: &mut ReadCall<'_>) -> io::Result<usize> {
        self.make_room(most);
        let count = read(&mut self.bytes[self.to..])?;
        self.to += count;
        Ok(count)
    }

    fn make_room(&mut self, most: usize) {
        if self.from == self.to {
            (self.from, self.to, self.searched) = (0, 0, 0);
            if self.bytes.len() > self.capacity {
                self.bytes = Vec::new();
            }
        }
        if self.to < self.bytes.len() {
            return;
        }
        self.bytes.copy_within(self.from..self.to, 0);
        (self.from, self.to) = (0, self.to - self.from);
        if self.to == self.bytes.len() {
            let most = most.max(self.capacity).max(self.to + 1);
            let len = (self.to * 2).clamp(self.capacity, most);
            self.bytes.resize(len, 0);
        }
    }

    /// How many unread bytes there are up to the first delimiter, with that.
    fn find(&mut self, delimiter: u8) -> Option<usize> {
        if self.delimiter != delimiter {
            (self.delimiter, self.searched) = (delimiter, 0);
        }
        let unread = &self.bytes[self.from..self.to];
        let mut rest = &unread[self.searched..];
        // The standard library has a fast search only here.
        let skipped = rest.skip_until(delimiter).expect("memory can be read");
        let end = self.searched + skipped;
        if skipped > 0 && unread[end - 1] == delimiter {
            return Some(end);
        }
        self.searched = end;
        None
    }

    /// Reads until there is a delimiter. Yields how many bytes there are up to it, with it; without one, at the end, how many there
    /// are.
    ///
    /// # Errors
    /// Those of `read`; that of [`too_long`] for more than `limit` bytes.
    fn until(&mut self, delimiter: u8, limit: usize, read: &mut ReadCall<'_>) -> io::Result<usize> {
        loop {
            match self.find(delimiter) {
                Some(count) if count <= limit => return Ok(count),
                None if self.unread().len() <= limit => {}
                _ => return Err(too_long(limit)),
            }
            if self.fill(limit.saturating_add(1), read)? == 0 {
                return Ok(self.unread().len());
            }
        }
    }

    /// Takes what is there up to a delimiter, with it.
    pub(super) fn read_until(
        &mut self,
        delimiter: u8,
        limit: usize,
        target: &mut Vec<u8>,
        read: &mut ReadCall<'_>,
    ) -> io::Result<usize> {
        let count = self.until(delimiter, limit, read)?;
        target.extend_from_slice(&self.unread()[..count]);
        self.consume(count);
        Ok(count)
    }

    /// Takes a line with its end.
    ///
    /// # Errors
    /// As `until`; of one that is no UTF-8, which is taken, and is in the error.
    pub(super) fn read_line(&mut self, limit: usize, target: &mut String, read: &mut ReadCall<'_>) -> io::Result<usize> {
        let count = self.until(b'\n', limit, read)?;
        let line = &self.unread()[..count];
        let result = match std::str::from_utf8(line) {
            Ok(text) => {
                target.push_str(text);
                Ok(count)
            }
            Err(_) => Err(String::from_utf8(line.to_vec()).expect_err("it has been looked at")),
        };
        self.consume(count);
        result.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Takes a line without its end; `None` at the end of all.
    pub(super) fn line(&mut self, limit: usize, read: &mut ReadCall<'_>) -> io::Result<Option<String>> {
        let mut line = String::new();
        if self.read_line(limit, &mut line, read)? == 0 {
            return Ok(None);
        }
        if line.ends_with('\n') {
            line.pop();
            if line.ends_with('\r') {
                line.pop();
            }
        }
        Ok(Some(line))
    }

    /// Takes as many bytes as `target` has room for.
    ///
    /// # Errors
    /// Those of `read`; `UnexpectedEof` if there are not so many.
    pub(super) fn read_exact(&mut self, target: &mut [u8], read: &mut ReadCall<'_>) -> io::Result<()> {
        while self.unread().len() < target.len() {
            if self.fill(target.len(), read)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.take(target);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source of pieces; it would block after each of them.
    fn pieces<'a>(pieces: &'a [&'a [u8]]) -> impl FnMut(&mut [u8]) -> io::Result<usize> + 'a {
        let mut pieces = pieces.iter().filter(|piece| !piece.is_empty());
        let mut rest: &[u8] = &[];
        let mut blocks = false;
        move |buffer| {
            if rest.is_empty() {
                blocks = !blocks;
                if !blocks {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                rest = pieces.next().copied().unwrap_or_default();
            }
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            blocks = true;
            Ok(count)
        }
    }

    fn again<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match call() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    #[test]
    fn lines_are_put_together_from_pieces_in_any_room() {
        let parts: [&[u8]; 3] = [b"on", b"e\ntwo\r", b"\n\nthree and some"];
        for capacity in 1..20 {
            let (mut buffer, mut read) = (Buffer::new(capacity), pieces(&parts));
            let mut lines = Vec::new();
            while let Some(line) = again(|| buffer.line(100, &mut read)).unwrap() {
                lines.push(line);
            }
            assert_eq!(lines, ["one", "two", "", "three and some"], "capacity {capacity}");
        }
    }

    #[test]
    fn a_line_has_as_many_bytes_as_it_may_have_and_the_buffer_hardly_more() {
        let long = [b'x'; 1000];
        for limit in [1, 7, 8, 9, 100, 999] {
            let (mut buffer, parts) = (Buffer::new(8), [&long[..limit - 1], b"\n", &long]);
            let mut read = pieces(&parts);
            let mut line = Vec::new();
            assert_eq!(
                again(|| buffer.read_until(b'\n', limit, &mut line, &mut read)).unwrap(),
                limit
            );
            for _ in 0..2 {
                let error = again(|| buffer.read_until(b'\n', limit, &mut line, &mut read)).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidData);
                assert!(buffer.unread().len() > limit && buffer.bytes.len() <= (limit + 1).max(8));
            }
            assert_eq!(line.len(), limit, "of the second one nothing was taken");
        }
        let (mut buffer, parts) = (Buffer::new(8), [&long[..10]]);
        let mut read = pieces(&parts);
        assert_eq!(
            again(|| buffer.line(10, &mut read)).unwrap().unwrap().len(),
            10,
            "the last one"
        );
    }

    #[test]
    fn what_is_no_text_is_in_the_error() {
        let (mut buffer, parts) = (Buffer::new(3), [&b"\xFFa\nb"[..]]);
        let mut read = pieces(&parts);
        let mut line = "as before".to_owned();
        let error = again(|| buffer.read_line(10, &mut line, &mut read)).unwrap_err();
        let bytes = error.into_inner().unwrap().downcast::<std::string::FromUtf8Error>().unwrap();
        assert_eq!((bytes.as_bytes(), &*line), (&b"\xFFa\n"[..], "as before"));
        assert_eq!(again(|| buffer.line(10, &mut read)).unwrap().as_deref(), Some("b"));
    }

    #[test]
    fn too_few_bytes_stay() {
        let (mut buffer, parts) = (Buffer::new(2), [&b"abc"[..], b"de"]);
        let mut read = pieces(&parts);
        let mut target = [0; 4];
        assert_eq!(
            buffer.read_exact(&mut target, &mut read).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        assert_eq!((buffer.unread(), target), (&b"abc"[..], [0; 4]));
        again(|| buffer.read_exact(&mut target, &mut read)).unwrap();
        assert_eq!(&target, b"abcd");
        let error = again(|| buffer.read_exact(&mut target, &mut read)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(buffer.into_unread(), b"e");
    }

    #[test]
    fn another_delimiter_is_looked_for_from_the_beginning() {
        let (mut buffer, parts) = (Buffer::new(100), [&b"a;b\nc"[..]]);
        let mut read = pieces(&parts);
        let mut part = Vec::new();
        assert_eq!(
            buffer.read_until(b',', 3, &mut part, &mut read).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        assert_eq!(buffer.read_until(b'\n', 10, &mut part, &mut read).unwrap(), 4);
        assert_eq!(part, b"a;b\n");
    }
}
