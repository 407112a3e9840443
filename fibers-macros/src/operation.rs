//! The grammar of one operation, shared by `select!`, `go!` and `defer!`.
//!
//! ```text
//! operation  =  "<-" end                receive
//!            |  end "<-" expression     send
//!            |  expression              whatever it evaluates to, an operation
//! end        =  a postfix expression: a path, `self.jobs[i].tx`, `f(x)?`, `(..)`; also `*x` and `&x`
//! ```
//!
//! `<-` is one joined pair of tokens, as the compiler's own lexer has it: `a < -b` is a comparison. Two joined pairs are not
//! arrows: the start of generic arguments (`Matrix::<-1>::new()`) and the tail of a shift (`1 <<-x`). No expression of Rust
//! contains the arrow, so where one stands at the top level (outside all brackets), it splits the operation: the tokens before
//! it must be one complete expression, and the expression behind it ends where Rust's grammar ends it. That is why
//! `if`, `else` and `=>` may follow an operation, and may also occur inside of it: `if` in the place of an operand begins an
//! `if` expression, `if` behind a complete operand does not continue it.
//!
//! Every macro receives the path of the runtime crate first, in brackets: `[$crate] ..`. See [`Root`].

use proc_macro2::{Delimiter, Punct, Spacing, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Error, Expr, Result, Token, UnOp, token};

/// The path of the runtime crate as the macro's caller knows it, handed in by the facade.
#[derive(Clone)]
pub(crate) struct Root(TokenStream);

impl Parse for Root {
    fn parse(input: ParseStream) -> Result<Self> {
        let path;
        syn::bracketed!(path in input);
        path.parse().map(Root)
    }
}

impl Root {
    /// The same path, as if it stood at `span`: a call through it is reported there.
    pub(crate) fn at(&self, span: Span) -> TokenStream {
        let moved = |mut token: TokenTree| {
            token.set_span(token.span().located_at(span));
            token
        };
        self.0.clone().into_iter().map(moved).collect()
    }
}

impl ToTokens for Root {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.0.to_tokens(tokens);
    }
}

/// One operation as it was written.
pub(crate) enum Operation {
    Receive { arrow: Token![<-], from: Expr },
    Send { to: Expr, arrow: Token![<-], value: Expr },
    Other(Expr),
}

impl Operation {
    /// The function of `__private` that makes the operation, applied to given operands.
    ///
    /// The calls have the spans of the operands, so that the compiler's type errors point there.
    pub(crate) fn receive(root: &Root, from: &TokenStream) -> TokenStream {
        let (root, borrow) = (root.at(at(from)), borrow(from));
        quote_spanned! {at(from)=> #root::__private::receive(#borrow #from) }
    }

    /// See [`Operation::receive`].
    pub(crate) fn transmit(root: &Root, to: &TokenStream, value: &TokenStream) -> TokenStream {
        let (root, borrow) = (root.at(at(to)), borrow(to));
        quote_spanned! {at(to)=> #root::__private::transmit(#borrow #to, #value) }
    }
}

impl Parse for Operation {
    fn parse(input: ParseStream) -> Result<Self> {
        if input.peek(Token![<-]) {
            return receive(input);
        }
        if let Some(before) = before_arrow(input)
            && let Ok(to) = Expr::parse.parse2(before.clone())
        {
            return send(input, to, before);
        }
        operand(input).map(Operation::Other)
    }
}

impl ToTokens for Operation {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Operation::Receive { arrow, from } => {
                arrow.to_tokens(tokens);
                from.to_tokens(tokens);
            }
            Operation::Send { to, arrow, value } => {
                to.to_tokens(tokens);
                arrow.to_tokens(tokens);
                value.to_tokens(tokens);
            }
            Operation::Other(expr) => expr.to_tokens(tokens),
        }
    }
}

fn receive(input: ParseStream) -> Result<Operation> {
    let arrow: Token![<-] = input.parse()?;
    if input.peek(Token![<-]) {
        let message = "one arm receives once: receive the inner channel first, `let rx = rx.recv()`";
        return Err(input.error(message));
    }
    if at_operand_end(input) || input.peek(Token![if]) {
        let message = "nothing to receive from behind `<-`: write `<-rx`, with `rx` a receiver, a timer, a join handle, ..";
        return Err(Error::new_spanned(arrow, message));
    }
    let from = operand(input)?;
    let message = "`<-` takes a postfix expression: put what it receives from in parentheses, `<-(..)`";
    check_end(&from, message)?;
    Ok(Operation::Receive { arrow, from })
}

fn send(input: ParseStream, to: Expr, before: TokenStream) -> Result<Operation> {
    for _ in before {
        input.parse::<TokenTree>()?;
    }
    let arrow: Token![<-] = input.parse()?;
    if is_pattern_like(&to) {
        let name = to.to_token_stream();
        let message = format!("`<-` with something on its left sends: to receive, write `{name} = <-rx else {{ .. }}`");
        return Err(Error::new_spanned(to, message));
    }
    if input.peek(Token![<-]) {
        let message = "what is sent must be a value: receive it first, in an arm of its own or with `rx.recv()`";
        return Err(input.error(message));
    }
    let is_condition = input.peek(Token![if]) && input.fork().parse::<Expr>().is_err();
    if at_operand_end(input) || is_condition {
        let message = "no value to send behind `<-`: write `tx <- value`, or `tx <- ()` if only the event counts";
        return Err(Error::new_spanned(arrow, message));
    }
    let message = "the sending end must be a postfix expression: put it in parentheses, `(..) <- value`";
    check_end(&to, message)?;
    let value = operand(input)?;
    Ok(Operation::Send { to, arrow, value })
}

/// Parses an expression that must not contain an arrow and is not asynchronous.
pub(crate) fn operand(input: ParseStream) -> Result<Expr> {
    let start = input.cursor();
    let expr: Expr = input.parse()?;
    let mut scan = Scan::default();
    let mut rest = start;
    while rest != input.cursor()
        && let Some((token, next)) = rest.token_tree()
    {
        if scan.arrow(&token, next.token_tree().map(|(token, _)| token)) {
            let message = "a second `<-`: one arm performs one operation; to compare with a negative number, write `a < -b`";
            return Err(Error::new(token.span(), message));
        }
        rest = next;
    }
    match &expr {
        Expr::Await(_) => {
            let message = "fibers do not await: write an operation, for example `<-rx` or `rx.recv_op()`";
            Err(Error::new_spanned(expr, message))
        }
        Expr::Async(_) => {
            let message = "a future is not an operation: run the code in a fiber and receive from its handle, `<-go!(f(a))`";
            Err(Error::new_spanned(expr, message))
        }
        _ => Ok(expr),
    }
}

/// Whether an operand cannot begin here.
fn at_operand_end(input: ParseStream) -> bool {
    input.is_empty() || input.peek(Token![=>]) || input.peek(Token![,]) || input.peek(Token![;]) || input.peek(Token![else])
}

/// `Ok(v) <- rx` is somebody who wants to receive.
fn is_pattern_like(expr: &Expr) -> bool {
    let Expr::Call(call) = expr else { return false };
    let Expr::Path(callee) = &*call.func else {
        return false;
    };
    ["Ok", "Err", "Some"].iter().any(|name| callee.path.is_ident(name))
}

fn check_end(expr: &Expr, message: &str) -> Result<()> {
    match expr {
        Expr::Binary(_)
        | Expr::Assign(_)
        | Expr::Range(_)
        | Expr::Cast(_)
        | Expr::Closure(_)
        | Expr::Return(_)
        | Expr::Break(_)
        | Expr::Unary(syn::ExprUnary {
            op: UnOp::Neg(_) | UnOp::Not(_),
            ..
        }) => Err(Error::new_spanned(expr, message)),
        _ => Ok(()),
    }
}

/// The tokens before the next arrow at the top level, if there is one before `=>`, `;` and the end.
fn before_arrow(input: ParseStream) -> Option<TokenStream> {
    let mut scan = Scan::default();
    let mut before = TokenStream::new();
    let mut rest = input.cursor();
    while let Some((token, next)) = rest.token_tree() {
        let follower = next.token_tree().map(|(token, _)| token);
        if scan.arrow(&token, follower.clone()) {
            return Some(before);
        }
        if is(&token, ';') || joined(&token, '=') && follower.is_some_and(|token| is(&token, '>')) {
            return None;
        }
        before.extend([token]);
        rest = next;
    }
    None
}

/// The place of the first arrow outside of all brackets.
pub(crate) fn arrow_span(tokens: &TokenStream) -> Option<Span> {
    let mut scan = Scan::default();
    let mut tokens = tokens.clone().into_iter().peekable();
    while let Some(token) = tokens.next() {
        if scan.arrow(&token, tokens.peek().cloned()) {
            return Some(token.span());
        }
    }
    None
}

/// Recognises arrows in a sequence of tokens.
#[derive(Default)]
struct Scan {
    /// The last token ended in `::`, or was the first half of `<<`.
    blocked: bool,
    /// The last token was a `:` joined to the next.
    colon: bool,
}

impl Scan {
    /// Whether `token`, followed by `next`, begins an arrow.
    fn arrow(&mut self, token: &TokenTree, next: Option<TokenTree>) -> bool {
        let arrow = !self.blocked && joined(token, '<') && next.is_some_and(|next| is(&next, '-'));
        self.blocked = self.colon && is(token, ':') || joined(token, '<') && !arrow;
        self.colon = joined(token, ':') && !self.blocked;
        arrow
    }
}

pub(crate) fn is(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}

fn joined(token: &TokenTree, char: char) -> bool {
    let joint = |punct: &Punct| punct.as_char() == char && punct.spacing() == Spacing::Joint;
    matches!(token, TokenTree::Punct(punct) if joint(punct))
}

/// An `&` that belongs to the operand: a message about the borrowed operand points at all of it.
fn borrow(operand: &TokenStream) -> TokenStream {
    let first = operand.clone().into_iter().next();
    quote_spanned!(first.map_or_else(Span::mixed_site, |token| token.span())=> &)
}

/// The hygiene of the macro at the place of the user's tokens: the compiler's messages point there.
pub(crate) fn at(tokens: &impl ToTokens) -> Span {
    let first = tokens.to_token_stream().into_iter().next();
    first.map_or_else(Span::mixed_site, |token| Span::mixed_site().located_at(token.span()))
}

/// The same for the last token.
pub(crate) fn at_end(tokens: &impl ToTokens) -> Span {
    let last = tokens.to_token_stream().into_iter().last();
    last.map_or_else(Span::mixed_site, |token| Span::mixed_site().located_at(token.span()))
}

/// Without the invisible group that an `$x:expr` of somebody's macro leaves around an expression.
pub(crate) fn ungrouped(expr: Expr) -> Expr {
    match expr {
        Expr::Group(group) => ungrouped(*group.expr),
        expr => expr,
    }
}

/// Whether a token is a block in braces.
pub(crate) fn is_block(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

/// Parses a block without looking into it: what is wrong inside, the compiler says better.
pub(crate) fn block(input: ParseStream) -> Result<TokenTree> {
    if !input.peek(token::Brace) {
        return Err(input.error("expected a block, `{ .. }`"));
    }
    input.parse()
}

/// Tokens as one line of text, spaced as in the source, cut where it gets long.
pub(crate) fn text(tokens: TokenStream) -> String {
    const LONGEST: usize = 120;
    let mut text = Text::default();
    if proc_macro::is_available() {
        text.write(tokens);
    } else {
        // In tests of this crate tokens have no places.
        text.text = tokens.to_string();
    }
    let mut text = text.text;
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push_str(" ..");
    }
    text
}

/// Text, and the line and column where its last token ended.
#[derive(Default)]
struct Text {
    text: String,
    end: Option<(usize, usize)>,
    /// The next token follows without a space.
    glue: bool,
}

impl Text {
    fn write(&mut self, tokens: TokenStream) {
        for token in tokens {
            let TokenTree::Group(group) = token else {
                self.token(&token.to_string(), token.span());
                continue;
            };
            match group.delimiter() {
                Delimiter::Parenthesis => self.group("(", group, ")"),
                Delimiter::Bracket => self.group("[", group, "]"),
                Delimiter::Brace => self.group("{", group, "}"),
                Delimiter::None => self.write(group.stream()),
            }
        }
    }

    /// The parser forgets where the two delimiters stand, and only knows the whole.
    fn group(&mut self, open: &str, group: proc_macro2::Group, close: &str) {
        self.token(open, group.span());
        self.glue = open != "{";
        self.write(group.stream());
        self.glue = open != "{";
        self.token(close, group.span());
    }

    fn token(&mut self, token: &str, span: Span) {
        let (start, end) = (span.unwrap().start(), span.unwrap().end());
        let is_apart = self.end != Some((start.line(), start.column()));
        if is_apart && !self.glue && !self.text.is_empty() {
            self.text.push(' ');
        }
        self.glue = false;
        self.text.push_str(token);
        self.end = Some((end.line(), end.column()));
    }
}
