//! `select!`: several operations, one of which happens.
//!
//! Stages that can be read alone: [`parse`] makes an [`ast`], [`check`] says what is wrong with it, [`expand`] writes the code.
//! [`habits`] is the part of the parser that knows how others write a select, [`hoist`] the part of the expansion that keeps the
//! temporaries of conditional operands alive.

mod ast;
mod check;
mod expand;
mod habits;
mod hoist;
mod parse;

use proc_macro2::TokenStream;
use syn::Result;
use syn::parse::Parser;

/// The expansion of `[root] lines`.
pub(crate) fn select(input: TokenStream) -> Result<TokenStream> {
    let (select, errors) = parse::parse.parse2(input)?;
    let checked = check::check(select, errors)?;
    Ok(expand::expand(&checked))
}
