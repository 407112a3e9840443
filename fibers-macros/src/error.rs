//! Errors of the macros: collected, so that one run of the compiler shows every mistake, each on its own span.

use proc_macro2::{Delimiter, Group, Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::{Error, Result};

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(crate) struct Errors(Option<Error>);

impl Errors {
    /// Reports `message` under all of `tokens`.
    pub(crate) fn push(&mut self, tokens: impl ToTokens, message: &str) {
        self.add(Error::new_spanned(tokens, message));
    }

    pub(crate) fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// Keeps the value, or notes why there is none.
    pub(crate) fn keep<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }

    /// The value if nothing was wrong, and all mistakes otherwise.
    pub(crate) fn finish<T>(self, value: T) -> Result<T> {
        self.0.map_or(Ok(value), Err)
    }
}

/// What a macro expands to when its input is wrong: a block of `compile_error!`s.
///
/// The compiler gives such a block the error type, which fits everywhere, so that no further message follows.
pub(crate) fn block(error: &Error) -> TokenStream {
    braced(error.to_compile_error())
}

/// Encloses `tokens` in braces that belong to the macro.
pub(crate) fn braced(tokens: TokenStream) -> TokenStream {
    let mut group = Group::new(Delimiter::Brace, tokens);
    group.set_span(Span::mixed_site());
    group.into_token_stream()
}

/// An expansion that failed in an attribute: the errors, and an empty function in place of the one that was written, so that
/// whoever calls it by name (the linker, for `main`) does not complain as well.
pub(crate) fn stub(error: &Error, name: &syn::Ident) -> TokenStream {
    let errors = error.to_compile_error();
    quote_spanned! {Span::mixed_site()=> #errors fn #name() {} }
}
