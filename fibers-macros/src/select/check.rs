//! [`Select`] to [`Checked`]: what was written in the right form, but in the wrong place or twice.

use super::ast::{Arm, Default, Line, Select};
use crate::error::Errors;
use crate::operation::Root;
use proc_macro2::{Ident, TokenStream};
use syn::Result;

/// A `select!` that can be expanded.
pub(crate) struct Checked {
    pub(crate) root: Root,
    pub(crate) biased: bool,
    pub(crate) arms: Vec<Arm>,
    /// The body of `default`.
    pub(crate) default: Option<TokenStream>,
}

/// All mistakes, those of the parser included.
pub(crate) fn check(select: Select, mut errors: Errors) -> Result<Checked> {
    let mut checked = Checked {
        root: select.root,
        biased: false,
        arms: Vec::new(),
        default: None,
    };
    let is_arm = |line: &Line| !matches!(line, Line::Default(_));
    let last_arm = select.lines.iter().rposition(is_arm);
    for (place, line) in select.lines.into_iter().enumerate() {
        match line {
            Line::Biased(word) => checked.bias(place, word, &mut errors),
            Line::Arm(arm) => {
                check_arm(&arm, &mut errors);
                checked.arms.push(*arm);
            }
            Line::Default(default) => checked.default(*default, Some(place) > last_arm, &mut errors),
        }
    }
    errors.finish(checked)
}

impl Checked {
    fn bias(&mut self, place: usize, word: Ident, errors: &mut Errors) {
        if self.biased {
            errors.push(&word, "`biased;` is written once");
        } else if place > 0 {
            errors.push(&word, "`biased;` is the first line of a `select!`");
        }
        self.biased = true;
    }

    fn default(&mut self, default: Default, is_last: bool, errors: &mut Errors) {
        if let Some(condition) = &default.condition {
            errors.push(
                condition,
                "`default` takes no condition: ask in its body, or leave it out and use an arm with a timer",
            );
        }
        if self.default.is_some() {
            errors.push(&default.word, "a second `default`: at most one, as the last arm");
        } else if !is_last {
            errors.push(
                &default.word,
                "`default` is the last arm: it runs when none of the others is ready",
            );
        }
        self.default = Some(default.body);
    }
}

fn check_arm(arm: &Arm, errors: &mut Errors) {
    if let (Some(otherwise), None) = (&arm.otherwise, &arm.binding) {
        let message = "`else` is for a pattern that does not match: `Ok(v) = <-rx else { .. } => ..`";
        errors.push(otherwise.keyword, message);
    }
}
