//! What `go!` and `defer!` run, and the part of it that is evaluated at once.
//!
//! ```text
//! action  =  call | closure | operation with an arrow | block | statements
//! ```
//!
//! The form is decided by the tokens alone, since a macro cannot see the brackets it was called with: exactly one call is a
//! call, in whatever brackets. Callee, receiver and arguments of a call are evaluated now, as in Go, and so are the ends and
//! values of operations; a block and a closure are evaluated later, all of them.

use crate::error::braced;
use crate::operation::{Operation, Root, arrow_span, at, is, ungrouped};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote_spanned};
use syn::parse::ParseStream;
use syn::parse::discouraged::Speculative;
use syn::{Error, Expr, Result, Token, UnOp};

pub(crate) enum Action {
    Call(Expr),
    Closure(syn::ExprClosure),
    Operation(Operation),
    /// Braces and what they hold, not looked into.
    Block(TokenStream),
}

impl Action {
    /// Parses the rest of the input, for the macro called `name`.
    pub(crate) fn parse(input: ParseStream, name: &str) -> Result<Action> {
        if input.is_empty() {
            let message = format!("nothing to run: `{name}(f(a))`, `{name} {{ .. }}`, `{name}(tx <- value)`");
            return Err(Error::new(input.span(), message));
        }
        if input.peek(Token![move]) && input.peek2(syn::token::Brace) {
            return Err(input.error(format!("leave out the `move`: `{name} {{ .. }}`")));
        }
        if let Some(action) = operation(input, name)? {
            return Ok(action);
        }
        let ahead = input.fork();
        if let Ok(expr) = ahead.parse::<Expr>()
            && ahead.is_empty()
        {
            input.advance_to(&ahead);
            return classify(ungrouped(expr), name);
        }
        Ok(Action::Block(braced(input.parse()?)))
    }

    /// What to do now, and the closure to run later. Its spans are those of the user's expressions, where there are any.
    pub(crate) fn evaluate(&self, root: &Root, keep: Keep) -> Eager {
        let mut now = Now {
            keep,
            setup: TokenStream::new(),
            count: 0,
        };
        let later = match self {
            Action::Closure(closure) => {
                return Eager {
                    setup: now.setup,
                    closure: closure.to_token_stream(),
                };
            }
            Action::Block(block) => block.clone(),
            Action::Call(call) => keep.finish(now.call(call)),
            Action::Operation(operation) => keep.finish(now.operation(root, operation)),
        };
        let capture = keep.capture();
        Eager {
            setup: now.setup,
            closure: quote_spanned!(Span::mixed_site()=> #capture || #later),
        }
    }
}

/// Statements, and a closure behind them.
pub(crate) struct Eager {
    pub(crate) setup: TokenStream,
    pub(crate) closure: TokenStream,
}

/// What may stay inside the closure and is evaluated now all the same, because capturing it does that.
#[derive(Clone, Copy)]
pub(crate) enum Keep {
    /// The closure moves: variables.
    Variables,
    /// The closure borrows: receivers and ends that are places. Nobody can change them before the closure is done.
    Places,
}

impl Keep {
    fn capture(self) -> TokenStream {
        match self {
            Keep::Variables => quote_spanned!(Span::mixed_site()=> move),
            Keep::Places => TokenStream::new(),
        }
    }

    /// What is left at the end of a block has no use for a value.
    fn finish(self, later: TokenStream) -> TokenStream {
        match self {
            Keep::Variables => later,
            Keep::Places => braced(quote_spanned!(Span::mixed_site()=> #later;)),
        }
    }

    /// Whether a receiver or the end of a channel may stay.
    fn keeps_place(self, expr: &Expr) -> bool {
        match (self, expr) {
            (_, Expr::Path(_)) => true,
            (Keep::Variables, _) => false,
            (Keep::Places, Expr::Field(it)) => self.keeps_place(&it.base),
            (Keep::Places, Expr::Index(it)) => self.keeps_place(&it.expr),
            (Keep::Places, Expr::Paren(it)) => self.keeps_place(&it.expr),
            (Keep::Places, Expr::Unary(it)) => matches!(it.op, UnOp::Deref(_)) && self.keeps_place(&it.expr),
            (Keep::Places, _) => false,
        }
    }

    /// Whether an argument may stay: what has no variables, what captures, and with `move` a variable.
    fn keeps_value(self, expr: &Expr) -> bool {
        match expr {
            Expr::Lit(_) | Expr::Closure(_) => true,
            Expr::Tuple(it) => it.elems.is_empty(),
            Expr::Path(it) => matches!(self, Keep::Variables) && it.path.get_ident().is_some(),
            _ => false,
        }
    }
}

/// An evaluation in progress.
struct Now {
    keep: Keep,
    setup: TokenStream,
    count: usize,
}

impl Now {
    fn call(&mut self, call: &Expr) -> TokenStream {
        match call {
            Expr::Call(it) => {
                let func = self.place(&it.func);
                let args = parenthesized(it.paren_token, self.values(&it.args));
                quote_spanned!(at(&it.func)=> #func #args)
            }
            Expr::MethodCall(it) => {
                let receiver = self.place(&it.receiver);
                let (dot, method, turbofish) = (&it.dot_token, &it.method, &it.turbofish);
                let args = parenthesized(it.paren_token, self.values(&it.args));
                quote_spanned!(method.span()=> #receiver #dot #method #turbofish #args)
            }
            other => other.to_token_stream(),
        }
    }

    fn operation(&mut self, root: &Root, operation: &Operation) -> TokenStream {
        let site = at(operation);
        match operation {
            Operation::Receive { from, .. } => {
                let from = self.place(from);
                let receive = Operation::receive(root, &from);
                quote_spanned!(site=> #root::__private::Op::perform(#receive))
            }
            Operation::Send { to, value, .. } => {
                let (to, value) = (self.place(to), self.value(value));
                let transmit = Operation::transmit(root, &to, &value);
                quote_spanned!(site=> #root::__private::sent(#root::__private::Op::perform(#transmit)))
            }
            Operation::Other(op) => quote_spanned!(site=> #root::__private::Op::perform(#op)),
        }
    }

    fn values<'a>(&mut self, exprs: impl IntoIterator<Item = &'a Expr>) -> TokenStream {
        let values = exprs.into_iter().map(|expr| self.value(expr));
        quote_spanned!(Span::mixed_site()=> #(#values),*)
    }

    fn value(&mut self, expr: &Expr) -> TokenStream {
        if self.keep.keeps_value(expr) {
            return expr.to_token_stream();
        }
        self.bind(expr, &TokenStream::new())
    }

    /// What a call may borrow mutably.
    fn place(&mut self, expr: &Expr) -> TokenStream {
        if self.keep.keeps_place(expr) {
            return expr.to_token_stream();
        }
        self.setup.extend(quote_spanned!(Span::mixed_site()=> #[allow(unused_mut)]));
        self.bind(expr, &quote_spanned!(Span::mixed_site()=> mut))
    }

    /// Evaluates now, into a variable that stands for the expression in messages about what the closure captures.
    fn bind(&mut self, expr: &Expr, mutable: &TokenStream) -> TokenStream {
        let name: Ident = format_ident!("__v{}", self.count, span = at(expr));
        self.count += 1;
        let expr = if let Expr::Paren(it) = expr { &it.expr } else { expr };
        self.setup
            .extend(quote_spanned!(Span::mixed_site()=> let #mutable #name = #expr;));
        name.into_token_stream()
    }
}

/// The user's parentheses around other arguments: where the compiler proposes one more.
fn parenthesized(parens: syn::token::Paren, args: TokenStream) -> TokenStream {
    let mut tokens = TokenStream::new();
    parens.surround(&mut tokens, |tokens| tokens.extend(args));
    tokens
}

/// An operation with an arrow, if there is an arrow outside of all brackets.
fn operation(input: ParseStream, name: &str) -> Result<Option<Action>> {
    let tokens: TokenStream = input.fork().parse()?;
    let Some(arrow) = arrow_span(&tokens) else {
        return Ok(None);
    };
    let mut separators = tokens.clone().into_iter().skip_while(|token| !is(token, ';'));
    let in_statement = |arrow| {
        let message = format!(
            "`<-` performs one operation, and stands alone: `{name}(tx <- value)`; among statements, write `tx.send(value)` \
             and `rx.recv()`"
        );
        Err(Error::new(arrow, message))
    };
    if separators.nth(1).is_some() || input.peek(Token![let]) {
        return in_statement(arrow);
    }
    let operation = input.parse()?;
    input.parse::<Option<Token![;]>>()?;
    if !input.is_empty() || matches!(operation, Operation::Other(_)) {
        return in_statement(arrow);
    }
    Ok(Some(Action::Operation(operation)))
}

/// What one expression means.
fn classify(expr: Expr, name: &str) -> Result<Action> {
    match expr {
        Expr::MethodCall(it) if !is_plain(&it.receiver) => Err(Error::new_spanned(&it.receiver, runs_now(name))),
        Expr::Call(_) | Expr::MethodCall(_) => Ok(Action::Call(expr)),
        Expr::Closure(closure) => check_closure(closure, name),
        Expr::Block(block) if block.label.is_none() => Ok(Action::Block(block.into_token_stream())),
        Expr::Async(block) => {
            let message = format!("a fiber needs no `async`: write `{name} {{ .. }}`, and call what blocks");
            Err(Error::new_spanned(block.async_token, message))
        }
        Expr::Await(it) => {
            let message = format!("a fiber needs no `await`: write `{name}(f(a))`, with a function that is not `async`");
            Err(Error::new_spanned(it.await_token, message))
        }
        Expr::Try(it) => Err(Error::new_spanned(it.question_token, no_question(name))),
        Expr::Path(_) | Expr::Field(_) => {
            let written = expr.to_token_stream();
            let message = format!("this names something, but calls nothing: write `{name}({written}())`");
            Err(Error::new_spanned(expr, message))
        }
        Expr::Lit(_) | Expr::Reference(_) | Expr::Tuple(_) | Expr::Array(_) | Expr::Range(_) | Expr::Struct(_) => {
            let message = format!("a value cannot run: `{name}(f(a))`, `{name} {{ .. }}`, `{name}(tx <- value)`");
            Err(Error::new_spanned(expr, message))
        }
        other => Ok(Action::Block(braced(other.into_token_stream()))),
    }
}

/// Whether a receiver does nothing when it is evaluated, or only clones.
///
/// Anything else is evaluated now in Go, which nobody expects of `go! { tx.send(1).unwrap() }`; so it has to be said.
fn is_plain(receiver: &Expr) -> bool {
    match receiver {
        Expr::Path(_) | Expr::Lit(_) | Expr::Struct(_) | Expr::Range(_) | Expr::Array(_) | Expr::Tuple(_) => true,
        Expr::Field(it) => is_plain(&it.base),
        Expr::Index(it) => is_plain(&it.expr),
        Expr::Paren(it) => is_plain(&it.expr),
        Expr::Group(it) => is_plain(&it.expr),
        Expr::Reference(it) => is_plain(&it.expr),
        Expr::Unary(it) => matches!(it.op, UnOp::Deref(_)) && is_plain(&it.expr),
        Expr::MethodCall(it) => it.method == "clone" && it.args.is_empty() && is_plain(&it.receiver),
        _ => false,
    }
}

fn runs_now(name: &str) -> String {
    let late = if name == "go!" {
        "in the fiber"
    } else {
        "at the end of the block"
    };
    format!(
        "should this run now or {late}? to run all of it {late}, end it with a semicolon: `{name} {{ a.b().c(); }}`; to run this \
         part now, bind it first: `let x = a.b(); {name}(x.c())`"
    )
}

fn no_question(name: &str) -> String {
    if name == "go!" {
        return "`?` cannot leave this function from another fiber: use it on what the fiber returns, `go!(f(a)).join()`, or \
                handle the error inside, `go! { .. }`"
            .into();
    }
    format!("`?` cannot leave a function that is over already: handle the error, `{name} {{ if let Err(e) = f(a) {{ .. }} }}`")
}

fn check_closure(closure: syn::ExprClosure, name: &str) -> Result<Action> {
    if let Some(word) = &closure.asyncness {
        let message = format!("a fiber needs no `async`: write `{name}(|| ..)`, and call what blocks");
        return Err(Error::new_spanned(word, message));
    }
    if !closure.inputs.is_empty() {
        let message = format!("nobody passes arguments to this closure: write `{name}(|| ..)`, or `{name}(f(a))`");
        return Err(Error::new_spanned(&closure.inputs, message));
    }
    Ok(Action::Closure(closure))
}
