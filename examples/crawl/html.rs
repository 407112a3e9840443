//! As much of HTML as a crawler needs: the title, and where the links lead. It follows no rules beyond those of tags, attributes,
//! comments and scripts; whatever it is given, it looks at each byte a few times at most.

/// What is of interest in a page.
#[derive(Default)]
pub(crate) struct Html {
    pub(crate) title: String,
    /// As they stand there.
    pub(crate) links: Vec<String>,
}

/// The longest title, in characters.
const LONGEST: usize = 60;

pub(crate) fn read(text: &str) -> Html {
    let lower = text.to_ascii_lowercase(); // each byte where it was
    let mut html = Html::default();
    let mut at = 0;
    while let Some(open) = find(&lower, "<", at) {
        if lower[open..].starts_with("<!--") {
            at = find(&lower, "-->", open).unwrap_or(text.len());
            continue;
        }
        if !lower[open + 1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '!') {
            at = open + 1; // as in 1 < 2
            continue;
        }
        let name_end = open + 1 + name_len(&lower[open + 1..]);
        let name = &lower[open + 1..name_end];
        let link = matches!(name, "a" | "area");
        let mut href = None;
        at = Attributes::new(text, name_end).read(|name, value| {
            if link && name.eq_ignore_ascii_case("href") {
                href.get_or_insert_with(|| decode(value));
            }
        });
        html.links.extend(href);
        if let "script" | "style" | "title" = name {
            let end = find(&lower, &format!("</{name}"), at).unwrap_or(text.len());
            if name == "title" && html.title.is_empty() {
                html.title = clean(&decode(&text[at..end]));
            }
            at = end;
        }
    }
    html
}

fn find(text: &str, what: &str, from: usize) -> Option<usize> {
    Some(from + text.get(from..)?.find(what)?)
}

fn name_len(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len())
}

/// The attributes of a tag.
struct Attributes<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Attributes<'a> {
    fn new(text: &'a str, at: usize) -> Self {
        Attributes { text, at }
    }

    /// Tells name and value of each, and returns where the tag ends.
    fn read(mut self, mut tell: impl FnMut(&str, &str)) -> usize {
        loop {
            self.take_while(|c| c.is_whitespace() || c == '/');
            let name = self.take_while(|c| !c.is_whitespace() && !"=/>".contains(c));
            self.take_while(char::is_whitespace);
            let value = if self.take("=") { self.value() } else { "" };
            if !name.is_empty() {
                tell(name, value);
            } else if self.take(">") || self.rest().is_empty() {
                return self.at;
            }
        }
    }

    fn value(&mut self) -> &'a str {
        self.take_while(char::is_whitespace);
        for quote in ["\"", "'"] {
            if self.take(quote) {
                let value = self.take_while(|c| !quote.contains(c));
                self.take(quote);
                return value;
            }
        }
        self.take_while(|c| !c.is_whitespace() && c != '>')
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn take(&mut self, what: &str) -> bool {
        let found = self.rest().starts_with(what);
        self.at += if found { what.len() } else { 0 };
        found
    }

    fn take_while(&mut self, is_wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !is_wanted(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }
}

/// The text without its entities, of which only the most common ones are known.
fn decode(text: &str) -> String {
    let known = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    known
        .iter()
        .fold(text.to_owned(), |text, (entity, c)| text.replace(entity, c))
}

/// One line that may be shown on a terminal.
fn clean(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let line = Vec::from_iter(words.filter(|word| !word.is_empty())).join(" ");
    line.chars().take(LONGEST).collect()
}
