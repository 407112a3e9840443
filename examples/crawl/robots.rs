//! What a site asks of crawlers (RFC 9309): of its `robots.txt` the rules for all of them, without wildcards.

/// Which paths are wanted, by how they begin.
#[derive(Default)]
pub(crate) struct Rules {
    /// With whether it allows or forbids.
    rules: Vec<(String, bool)>,
}

impl Rules {
    pub(crate) fn read(text: &str) -> Rules {
        let mut rules = Vec::new();
        // A group is some names and then some rules; it is for us if one of the names is a star.
        let (mut is_ours, mut in_names) = (false, false);
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let Some((key, value)) = line.split_once(':') else { continue };
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
            match &*key {
                "user-agent" => {
                    is_ours = value == "*" || in_names && is_ours;
                    in_names = true;
                }
                "allow" | "disallow" => {
                    in_names = false;
                    if is_ours && !value.is_empty() {
                        rules.push((value.to_owned(), key == "allow"));
                    }
                }
                _ => {}
            }
        }
        Rules { rules }
    }

    /// The longest rule counts; of two, the one that allows.
    pub(crate) fn allow(&self, target: &str) -> bool {
        let matching = self.rules.iter().filter(|(start, _)| target.starts_with(&**start));
        matching
            .max_by_key(|(start, allows)| (start.len(), *allows))
            .is_none_or(|(_, allows)| *allows)
    }
}
