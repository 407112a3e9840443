//! [`Checked`] to Rust: one operation per arm, one `choice`, one `match`.
//!
//! ```text
//! // select! {                                  {
//! //     v = <-rx => f(v),                          use Selected2 as __Selected; // { A0(A0), A1(A1) }
//! //     tx <- x if c => g(),                       let __out = Op::perform(choice((
//! // }                                                  arm(Op::wrap(receive(&rx), __Selected::A0), &Arm { .. }),
//! //                                                    if c { Some(arm(.. transmit(&tx, x) ..)) } else { None },
//! //                                                )));
//! //                                                match __out {
//! //                                                    __Selected::A0(v) => f(v),
//! //                                                    __Selected::A1(__value) => { sent(__value); g() }
//! //                                                }
//! //                                            }
//! ```
//!
//! The temporaries of all operands end with the `let` statement, before a body runs. With `default`, `try_perform` takes the
//! place of `perform`, and its `None` is the default.

use super::ast::{Arm, Binding};
use super::check::Checked;
use super::hoist::Hoist;
use crate::operation::{Operation, Root, at, at_end};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote_spanned};
use syn::{Expr, Pat};

/// `quote!` with the hygiene of the macro.
macro_rules! quote {
    ($($tokens:tt)*) => { quote_spanned! {Span::mixed_site()=> $($tokens)*} };
}

/// The most branches one tuple may have; more are nested.
const TUPLE: usize = 16;

pub(crate) fn expand(select: &Checked) -> TokenStream {
    match (&select.default, select.arms.is_empty()) {
        (Some(body), true) => quote! { { #body } },
        (None, true) => block_for_ever(&select.root),
        _ => choose(select),
    }
}

fn block_for_ever(root: &Root) -> TokenStream {
    quote! {
        match #root::__private::Op::perform(#root::__private::never::<::core::convert::Infallible>()) {}
    }
}

fn choose(select: &Checked) -> TokenStream {
    let root = &select.root;
    let variants: Vec<_> = (0..select.arms.len()).map(variant).collect();
    let mut hoist = Hoist::default();
    let branches = select
        .arms
        .iter()
        .zip(&variants)
        .map(|(arm, variant)| branch(root, arm, variant, &mut hoist));
    let choice = if select.biased { quote!(biased) } else { quote!(choice) };
    let choice = combined(&quote!(#root::__private::#choice), branches.collect());
    let perform = if select.default.is_some() {
        quote!(try_perform)
    } else {
        quote!(perform)
    };
    let perform = quote! { #root::__private::Op::#perform(#choice) };
    let perform = with_hoisted(&hoist.names, &perform);
    let outcomes = outcomes(select, &variants);
    let selected = selected(root, &variants);
    quote! {
        {
            #selected
            #perform
            match __out { #outcomes }
        }
    }
}

/// The enum with a variant for each arm. One that the crate has, where there is one: so blocks with arms of the same types share
/// all that is compiled for their operation.
fn selected(root: &Root, variants: &[Ident]) -> TokenStream {
    if variants.len() > TUPLE {
        return quote! { enum __Selected<#(#variants),*> { #(#variants(#variants)),* } };
    }
    let ready_made = format_ident!("Selected{}", variants.len(), span = Span::mixed_site());
    quote! { use #root::__private::#ready_made as __Selected; }
}

/// The variant of one arm, and the type parameter of the same name.
fn variant(index: usize) -> Ident {
    format_ident!("A{index}", span = Span::mixed_site())
}

/// `let __out = perform;`, in a block of its own with the variables that conditional operands need.
fn with_hoisted(names: &[Ident], perform: &TokenStream) -> TokenStream {
    if names.is_empty() {
        return quote! { let __out = #perform; };
    }
    quote! {
        let __out;
        {
            #(#[allow(unused_mut)] let mut #names;)*
            __out = #perform;
        }
    }
}

/// One choice; what does not fit into one tuple is nested, since nested choices are spliced.
fn combined(choice: &TokenStream, mut branches: Vec<TokenStream>) -> TokenStream {
    while branches.len() > TUPLE {
        branches = branches
            .chunks(TUPLE)
            .map(|chunk| quote! { #choice((#(#chunk,)*)) })
            .collect();
    }
    quote! { #choice((#(#branches,)*)) }
}

/// The operation of one arm, wrapped into its variant; `None` if its condition is false.
fn branch(root: &Root, arm: &Arm, variant: &Ident, hoist: &mut Hoist) -> TokenStream {
    let span = at(&arm.operation);
    let site = site(root, arm);
    let Some(condition) = &arm.condition else {
        let operation = direct(root, &arm.operation);
        return labelled(root, span, &operation, variant, &site);
    };
    let operation = kept(root, &arm.operation, hoist);
    let branch = labelled(root, span, &operation, variant, &site);
    let condition = parenthesized(condition);
    quote! {
        if #condition { ::core::option::Option::Some(#branch) } else { ::core::option::Option::None }
    }
}

fn labelled(root: &Root, span: Span, operation: &TokenStream, variant: &Ident, site: &TokenStream) -> TokenStream {
    let variant = quote! { __Selected::#variant };
    let root = root.at(span);
    quote_spanned! {span=> #root::__private::arm(#operation, #variant, #site) }
}

/// The operation, with its operands where they were written.
fn direct(root: &Root, operation: &Operation) -> TokenStream {
    match operation {
        Operation::Receive { from, .. } => Operation::receive(root, &borrowable(from).to_token_stream()),
        Operation::Send { to, value, .. } => {
            Operation::transmit(root, &borrowable(to).to_token_stream(), &value.to_token_stream())
        }
        Operation::Other(op) => op.to_token_stream(),
    }
}

/// The operation, inside the branch of an `if`.
fn kept(root: &Root, operation: &Operation, hoist: &mut Hoist) -> TokenStream {
    match operation {
        Operation::Receive { from, .. } => hoist.place(borrowable(from), |from| Operation::receive(root, from)),
        Operation::Send { to, value, .. } => {
            let mut sender = TokenStream::new();
            let to = hoist.rooted(borrowable(to), &mut sender);
            let operation = Operation::transmit(root, &to, &hoist.value(value));
            if sender.is_empty() {
                operation
            } else {
                quote! { { #sender #operation } }
            }
        }
        Operation::Other(op) => hoist.value(op),
    }
}

/// `<-&rx` means `<-rx`.
fn borrowable(expr: &Expr) -> &Expr {
    match expr {
        Expr::Reference(reference) if reference.mutability.is_none() => &reference.expr,
        Expr::Group(group) => borrowable(&group.expr),
        expr => expr,
    }
}

/// A condition that contains braces might be read as a struct literal with the branch as its fields.
fn parenthesized(condition: &Expr) -> TokenStream {
    let tokens = condition.to_token_stream();
    let has_braces = tokens.clone().into_iter().any(|token| crate::operation::is_block(&token));
    if has_braces { quote!((#tokens)) } else { tokens }
}

/// Text and place of an arm, for graphs and deadlock reports.
fn site(root: &Root, arm: &Arm) -> TokenStream {
    let text = text(arm);
    let span = arm
        .binding
        .as_ref()
        .map_or_else(|| at(&arm.operation), |binding| at(&binding.pattern));
    let (file, line, column) = place(span);
    quote! { &#root::__private::Arm { text: #text, file: #file, line: #line, column: #column } }
}

/// The head of the arm in one line, without its `else`.
fn text(arm: &Arm) -> String {
    let mut tokens = TokenStream::new();
    if let Some(Binding { pattern, .. }) = &arm.binding {
        tokens.extend(quote_spanned!(at(pattern)=> #pattern =));
    }
    arm.operation.to_tokens(&mut tokens);
    if let Some(condition) = &arm.condition {
        tokens.extend(quote!(if #condition));
    }
    crate::operation::text(tokens)
}

/// File, line and column; outside of the compiler, as in tests of this crate, there is none.
fn place(span: Span) -> (String, u32, u32) {
    if !proc_macro::is_available() {
        return ("src/main.rs".into(), 1, 1);
    }
    let span = span.unwrap();
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    (span.file(), number(span.line()), number(span.column()))
}

/// The arms of the `match`.
fn outcomes(select: &Checked, variants: &[Ident]) -> TokenStream {
    let arms = select.arms.iter().zip(variants).map(|(arm, variant)| {
        let (pattern, body) = outcome(&select.root, arm);
        let pattern = quote! { __Selected::#variant(#pattern) };
        if select.default.is_none() {
            quote! { #pattern => #body, }
        } else {
            quote! { ::core::option::Option::Some(#pattern) => #body, }
        }
    });
    let default = select
        .default
        .iter()
        .map(|body| quote! { ::core::option::Option::None => #body, });
    let all = arms.chain(default);
    quote! { #(#all)* }
}

/// How the value of an arm is taken, and what is done with it.
///
/// A pattern that may not match goes into a `let`, whose error tells about `else`; an unbound value is dropped at once.
fn outcome(root: &Root, arm: &Arm) -> (TokenStream, TokenStream) {
    let body = &arm.body;
    let Some(Binding { pattern, ty }) = &arm.binding else {
        let done = match &arm.operation {
            Operation::Send { to, .. } => quote_spanned! {at(to)=> #root::__private::sent },
            _ => quote! { ::core::mem::drop },
        };
        return (quote!(__value), quote! { { #done(__value); #body } });
    };
    match (&arm.otherwise, pattern) {
        (None, Pat::Ident(name)) if ty.is_none() && is_variable(name) => (quote!(#name), body.clone()),
        (None, Pat::Wild(_)) if ty.is_none() => (quote!(__value), quote! { { ::core::mem::drop(__value); #body } }),
        (otherwise, _) => {
            let pattern = let_pattern(pattern);
            // Behind this the compiler proposes an `else`.
            let condition = arm.condition.as_ref();
            let head_end = condition.map_or_else(|| at_end(&arm.operation), at_end);
            let end = quote_spanned!(head_end=> ;);
            let start = quote_spanned!(at(&pattern)=> let);
            let ty = ty.iter();
            let otherwise = otherwise.iter().map(|otherwise| {
                let (keyword, block) = (&otherwise.keyword, &otherwise.block);
                quote!(#keyword #block)
            });
            (
                quote!(__value),
                quote! { { #start #pattern #(: #ty)* = __value #(#otherwise)* #end #body } },
            )
        }
    }
}

/// A name that is surely no constant, unit struct or variant.
fn is_variable(name: &syn::PatIdent) -> bool {
    name.subpat.is_none()
        && name
            .ident
            .to_string()
            .starts_with(|first: char| first.is_lowercase() || first == '_')
}

/// `let` wants alternatives in parentheses.
fn let_pattern(pattern: &Pat) -> TokenStream {
    match pattern {
        Pat::Or(_) => quote!((#pattern)),
        _ => pattern.to_token_stream(),
    }
}
