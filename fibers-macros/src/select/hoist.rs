//! Operands of conditional arms.
//!
//! An arm `v = <-a.b().c if x` becomes `if x { Some(receive(&a.b().c)) } else { None }`. The branch of an `if` drops its
//! temporaries, here the result of `a.b()`, when it ends, and the operation would be left without what it borrows. So values
//! that something borrows from move into variables that are declared in front, and initialised in the branch:
//!
//! ```text
//! let t0;  ..  if x { Some({ t0 = a.b(); receive(&t0.c) }) } else { None }
//! ```
//!
//! Only what stays in place can be borrowed without that: variables, their fields and elements, and what they point to. Looked
//! into are calls, method calls, references and the like; closures, blocks and macros keep their temporaries to themselves.

use crate::error::braced;
use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Expr, UnOp};

use crate::operation::at;

/// The variables declared so far.
#[derive(Default)]
pub(crate) struct Hoist {
    pub(crate) names: Vec<Ident>,
}

impl Hoist {
    /// `use_place` applied to `expr` as a place that outlives the branch.
    pub(crate) fn place(&mut self, expr: &Expr, use_place: impl FnOnce(&TokenStream) -> TokenStream) -> TokenStream {
        let mut first = TokenStream::new();
        let place = self.rooted(expr, &mut first);
        let used = use_place(&place);
        if first.is_empty() {
            used
        } else {
            braced(quote!(#first #used))
        }
    }

    /// `expr` as a value, with everything it borrows from kept.
    pub(crate) fn value(&mut self, expr: &Expr) -> TokenStream {
        match expr {
            Expr::Reference(it) => {
                let (attrs, and, mutability) = (&it.attrs, &it.and_token, &it.mutability);
                self.place(&it.expr, |place| quote!(#(#attrs)* #and #mutability #place))
            }
            Expr::MethodCall(it) => self.method_call(it),
            Expr::Call(it) => {
                let (func, args) = (&it.func, self.values(&it.args));
                quote_spanned!(at(func)=> #func(#args))
            }
            Expr::Tuple(it) => {
                let elems = self.values(&it.elems);
                quote!((#elems))
            }
            Expr::Try(it) => {
                let (inner, question) = (self.value(&it.expr), &it.question_token);
                quote!(#inner #question)
            }
            Expr::Group(it) => self.value(&it.expr),
            Expr::Paren(it) => self.value(&it.expr),
            Expr::Field(_) | Expr::Index(_) | Expr::Unary(syn::ExprUnary { op: UnOp::Deref(_), .. }) => {
                self.place(expr, TokenStream::clone)
            }
            _ => expr.to_token_stream(),
        }
    }

    fn method_call(&mut self, it: &syn::ExprMethodCall) -> TokenStream {
        let mut first = TokenStream::new();
        let receiver = self.rooted(&it.receiver, &mut first);
        let (dot, method, turbofish, args) = (&it.dot_token, &it.method, &it.turbofish, self.values(&it.args));
        let call = quote_spanned!(method.span()=> #receiver #dot #method #turbofish (#args));
        if first.is_empty() {
            call
        } else {
            braced(quote!(#first #call))
        }
    }

    /// With a comma behind each: a tuple of one stays a tuple.
    fn values<T>(&mut self, exprs: &syn::punctuated::Punctuated<Expr, T>) -> TokenStream {
        let values = exprs.iter().map(|expr| self.value(expr));
        quote!(#(#values,)*)
    }

    /// `expr` as a place; a value at its root is moved into a variable by the statements added to `first`.
    pub(crate) fn rooted(&mut self, expr: &Expr, first: &mut TokenStream) -> TokenStream {
        match expr {
            Expr::Path(_) => expr.to_token_stream(),
            Expr::Group(it) => self.rooted(&it.expr, first),
            Expr::Paren(it) => {
                let inner = self.rooted(&it.expr, first);
                quote!((#inner))
            }
            Expr::Field(it) => {
                let (base, dot, member) = (self.rooted(&it.base, first), &it.dot_token, &it.member);
                quote!(#base #dot #member)
            }
            Expr::Index(it) => {
                let (base, index) = (self.rooted(&it.expr, first), self.value(&it.index));
                quote_spanned!(at(&it.expr)=> #base[#index])
            }
            Expr::Unary(it) if matches!(it.op, UnOp::Deref(_)) => {
                let (star, inner) = (&it.op, self.rooted(&it.expr, first));
                quote!(#star #inner)
            }
            _ => {
                let value = self.value(expr);
                let name = self.name(at(expr));
                first.extend(quote!(#name = #value;));
                name.into_token_stream()
            }
        }
    }

    fn name(&mut self, span: Span) -> Ident {
        let name = format_ident!("__t{}", self.names.len(), span = span);
        self.names.push(name.clone());
        name
    }
}
