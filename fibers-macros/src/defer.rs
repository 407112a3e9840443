//! `defer!`: runs something at the end of the enclosing block.

use crate::action::{Action, Eager, Keep};
use crate::operation::Root;
use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::Result;
use syn::parse::{ParseStream, Parser};

/// The expansion of `[root] action`.
pub(crate) fn defer(input: TokenStream) -> Result<TokenStream> {
    let (root, action) = parse.parse2(input)?;
    Ok(expand(&root, &action))
}

fn parse(input: ParseStream) -> Result<(Root, Action)> {
    Ok((input.parse()?, Action::parse(input, "defer!")?))
}

/// Statements for the block of the caller; the names are the macro's own, so that nobody meets them.
///
/// ```text
/// // defer!(x.f(a))          let mut __v0 = a; let __deferred = defer(|| { x.f(__v0); });
/// // defer! { .. }           let __deferred = defer(|| { .. });
/// ```
fn expand(root: &Root, action: &Action) -> TokenStream {
    let Eager { setup, closure } = action.evaluate(root, Keep::Places);
    quote_spanned! {Span::mixed_site()=> #setup let __deferred = #root::defer(#closure); }
}
