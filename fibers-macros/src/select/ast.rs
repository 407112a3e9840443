//! What was written in a `select!`, before anybody asked whether it makes sense.

use crate::operation::{Operation, Root};
use proc_macro2::{Ident, TokenStream};
use syn::{Expr, Pat, Token, Type};

/// All of a `select!`.
pub(crate) struct Select {
    pub(crate) root: Root,
    pub(crate) lines: Vec<Line>,
}

/// One line: an arm, or the word that orders them.
pub(crate) enum Line {
    Arm(Box<Arm>),
    Default(Box<Default>),
    Biased(Ident),
}

/// `[pattern =] operation [if condition] [else block] => body`
pub(crate) struct Arm {
    pub(crate) binding: Option<Binding>,
    pub(crate) operation: Operation,
    pub(crate) condition: Option<Expr>,
    pub(crate) otherwise: Option<Otherwise>,
    pub(crate) body: TokenStream,
}

/// `pattern =`, `pattern: type =`
pub(crate) struct Binding {
    pub(crate) pattern: Pat,
    pub(crate) ty: Option<Type>,
}

/// `else block`
pub(crate) struct Otherwise {
    pub(crate) keyword: Token![else],
    /// In braces, and not looked into.
    pub(crate) block: TokenStream,
}

/// `default [if condition] => body`, where the condition is a mistake.
pub(crate) struct Default {
    pub(crate) word: Ident,
    pub(crate) condition: Option<Expr>,
    pub(crate) body: TokenStream,
}
