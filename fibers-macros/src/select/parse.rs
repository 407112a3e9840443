//! Tokens to [`Select`]. A faulty arm is noted and skipped, so that the arms behind it are looked at as well.
//!
//! ```text
//! select   =  [ "biased" ";" ] line*
//! line     =  head "=>" body [","]            the comma may be left out after a body that ends in braces, as in `match`
//! head     =  [ pattern [":" type] "=" ] operation [ "if" expression ] [ "else" block ]
//!          |  "default"
//! ```

use super::ast::{Arm, Binding, Default, Line, Otherwise, Select};
use super::habits;
use crate::error::Errors;
use crate::operation::{self, Operation};
use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::parse::discouraged::Speculative;
use syn::{Error, Expr, Pat, Result, Token, token};

/// Everything that could be read, and what could not.
pub(crate) fn parse(input: ParseStream) -> Result<(Select, Errors)> {
    let root = input.parse()?;
    let mut errors = Errors::default();
    let mut lines = Vec::new();
    while !input.is_empty() {
        // What a failed parse leaves behind must not be seen by the parser as a whole: each line has its own.
        let ahead = input.fork();
        match line(&ahead) {
            Ok(line) => lines.push(line),
            Err(Fault { error, skip }) => {
                errors.add(error);
                if skip {
                    skip_line(&ahead);
                }
            }
        }
        skip_to(input, &ahead);
    }
    Ok((Select { root, lines }, errors))
}

/// Skips what `ahead` has parsed, one token at least: a line that consumed nothing would be found again.
fn skip_to(input: ParseStream, ahead: ParseStream) {
    while input.parse::<TokenTree>().is_ok() && !input.is_empty() && input.cursor() != ahead.cursor() {}
}

/// A mistake, and whether the rest of the line is still ahead.
pub(super) struct Fault {
    pub(super) error: Error,
    pub(super) skip: bool,
}

pub(super) type Parsed<T> = std::result::Result<T, Fault>;

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault { error, skip: true }
    }
}

pub(super) fn fault<T>(tokens: impl ToTokens, message: &str) -> Parsed<T> {
    Err(Error::new_spanned(tokens, message).into())
}

fn line(input: ParseStream) -> Parsed<Line> {
    if input.peek(Token![#]) {
        let message = "an arm takes no attributes: for `#[cfg(x)]` write a condition, `v = <-rx if cfg!(x) => ..`; \
                       put others on the body or before the `select!`";
        return fault(input.parse::<TokenTree>()?, message);
    }
    habits::reject(input)?;
    if let Some(word) = word(input, "biased", |next| !next.is_operand()) {
        return biased(input, word);
    }
    if let Some(word) = word(input, "default", |next| next.arrow || next.condition) {
        return default(input, word);
    }
    arm(input).map(|arm| Line::Arm(Box::new(arm)))
}

/// What stands behind a word that may be a name as well.
struct Next {
    arrow: bool,
    condition: bool,
    operator: bool,
}

impl Next {
    fn is_operand(&self) -> bool {
        self.arrow || self.condition || self.operator
    }
}

/// The `expected` word, consumed, if what follows means that it is no name.
fn word(input: ParseStream, expected: &str, is_word: impl Fn(&Next) -> bool) -> Option<Ident> {
    let ahead = input.fork();
    let word = Ident::parse_any(&ahead).ok().filter(|word| word == expected)?;
    let next = Next {
        arrow: ahead.peek(Token![=>]),
        condition: ahead.peek(Token![if]) || ahead.peek(Token![else]),
        operator: ahead.peek(Token![.])
            || ahead.peek(Token![=])
            || ahead.peek(Token![::])
            || ahead.peek(Token![:])
            || ahead.peek(Token![<-])
            || ahead.peek(Token![?])
            || ahead.peek(Token![!])
            || ahead.peek(token::Paren)
            || ahead.peek(token::Bracket),
    };
    is_word(&next).then(|| input.advance_to(&ahead))?;
    Some(word)
}

fn biased(input: ParseStream, word: Ident) -> Parsed<Line> {
    if input.peek(Token![;]) {
        input.parse::<Token![;]>()?;
        return Ok(Line::Biased(word));
    }
    input.parse::<Option<Token![,]>>()?;
    // What follows is a line of its own.
    Err(Fault {
        error: Error::new_spanned(word, "`biased` is followed by a semicolon: `biased;`"),
        skip: false,
    })
}

fn default(input: ParseStream, word: Ident) -> Parsed<Line> {
    if input.peek(Token![else]) {
        return fault(
            word,
            "`default` has no outcome that an `else` could be about: write `default => ..`",
        );
    }
    let condition = condition(input)?;
    let arrow = fat_arrow(input, &word)?;
    Ok(Line::Default(Box::new(Default {
        word,
        condition,
        body: body(input, arrow)?,
    })))
}

fn arm(input: ParseStream) -> Parsed<Arm> {
    let binding = binding(input)?;
    let operation = operation_before_body(input)?;
    let condition = condition(input)?;
    let otherwise = otherwise(input)?;
    if otherwise.is_some() && input.peek(Token![if]) {
        return fault(
            input.parse::<TokenTree>()?,
            "the condition comes before the `else`: `Ok(v) = <-rx if c else { .. } => ..`",
        );
    }
    if input.peek(Token![,]) && input.peek2(Token![if]) {
        return fault(
            input.parse::<TokenTree>()?,
            "no comma before the condition: `v = <-rx if open => ..`",
        );
    }
    let arrow = fat_arrow(input, &operation)?;
    Ok(Arm {
        binding,
        operation,
        condition,
        otherwise,
        body: body(input, arrow)?,
    })
}

fn operation_before_body(input: ParseStream) -> Parsed<Operation> {
    let start = input.fork();
    let result = input.parse();
    let is_clear = match &result {
        Ok(Operation::Receive { from: last, .. } | Operation::Send { value: last, .. } | Operation::Other(last)) => {
            is_head_end(input) || !ends_in_literal(last)
        }
        Err(_) => false,
    };
    if !is_clear && let Some(fault) = body_as_literal(&start.fork(), input) {
        return Err(fault);
    }
    if result.is_err() {
        habits::thin_arrow(&start)?;
    }
    Ok(result?)
}

fn is_head_end(input: ParseStream) -> bool {
    input.peek(Token![=>]) || input.peek(Token![if]) || input.peek(Token![else])
}

/// `pattern =` or `pattern: type =`, if that is what is ahead.
fn binding(input: ParseStream) -> Parsed<Option<Binding>> {
    let ahead = input.fork();
    let Ok(pattern) = Pat::parse_multi_with_leading_vert(&ahead) else {
        return Ok(None);
    };
    if ahead.peek(Token![:]) && ahead.peek2(Token![=]) && !ahead.peek2(Token![=>]) {
        let message = format!("`:=` declares in Go; here write `{} = <-rx => ..`", pattern.to_token_stream());
        return fault(pattern, &message);
    }
    let mut ty = None;
    if ahead.peek(Token![:]) && !ahead.peek(Token![::]) {
        ahead.parse::<Token![:]>()?;
        let Ok(parsed) = ahead.parse() else {
            return Ok(None);
        };
        ty = Some(parsed);
    }
    if !ahead.peek(Token![=]) || ahead.peek(Token![==]) || ahead.peek(Token![=>]) {
        return Ok(None);
    }
    let equals: Token![=] = ahead.parse()?;
    input.advance_to(&ahead);
    if input.is_empty() || input.peek(Token![=>]) || input.peek(Token![,]) {
        return fault(equals, "an operation is missing behind `=`: `v = <-rx => ..`");
    }
    Ok(Some(Binding { pattern, ty }))
}

fn condition(input: ParseStream) -> Parsed<Option<Expr>> {
    if !input.peek(Token![if]) {
        return Ok(None);
    }
    let word: Token![if] = input.parse()?;
    if input.peek(Token![let]) {
        let message = "the condition of an arm is a `bool`: write `if matches!(..)`, or let the operand be an `Option`, where \
                       `None` is never ready";
        return Err(input.error(message).into());
    }
    if input.peek(Token![=>]) || input.is_empty() {
        return fault(word, "a condition is missing behind `if`: `v = <-rx if open => ..`");
    }
    let start = input.fork();
    let result = operation::operand(input);
    let is_clear = result
        .as_ref()
        .is_ok_and(|condition| is_head_end(input) || !ends_in_literal(condition));
    if !is_clear && let Some(fault) = body_as_literal(&start, input) {
        return Err(fault);
    }
    Ok(Some(result?))
}

fn otherwise(input: ParseStream) -> Result<Option<Otherwise>> {
    if !input.peek(Token![else]) {
        return Ok(None);
    }
    let keyword: Token![else] = input.parse()?;
    if !input.peek(token::Brace) {
        let message = "`else` is followed by a block that leaves the `select!`: `else { break }`, `else { return }`";
        return Err(Error::new_spanned(keyword, message));
    }
    let block = operation::block(input)?.into_token_stream();
    Ok(Some(Otherwise { keyword, block }))
}

/// The fault of a body without `=>`, if that is why the expression at `start` was misread: `rx { .. }` looks like a struct.
fn body_as_literal(start: ParseStream, input: ParseStream) -> Option<Fault> {
    start.parse::<Option<Token![<-]>>().ok()?;
    Expr::parse_without_eager_brace(start).ok()?;
    if !start.peek(token::Brace) {
        return None;
    }
    let error = start.error(MISSING_ARROW);
    skip_body(start);
    input.advance_to(start);
    Some(Fault { error, skip: false })
}

/// Whether an operand swallowed what may have been meant as the body.
fn ends_in_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Struct(_) => true,
        Expr::Reference(reference) => ends_in_literal(&reference.expr),
        Expr::Unary(unary) => ends_in_literal(&unary.expr),
        Expr::Binary(binary) => ends_in_literal(&binary.right),
        _ => false,
    }
}

const MISSING_ARROW: &str = "expected `=>` before the body of the arm: `v = <-rx => { .. }`";

/// The `=>` behind `head`.
fn fat_arrow(input: ParseStream, head: &impl ToTokens) -> Parsed<Token![=>]> {
    if input.peek(Token![=>]) {
        return Ok(input.parse()?);
    }
    let error = if input.is_empty() {
        Error::new_spanned(head, "expected `=>` and a body behind this: `v = <-rx => { .. }`")
    } else if input.peek(Token![:]) {
        input.error("expected `=>` instead of `:`: `v = <-rx => { .. }`")
    } else {
        input.error(MISSING_ARROW)
    };
    let skip = !input.peek(token::Brace);
    if !skip {
        skip_body(input);
    }
    Err(Fault { error, skip })
}

/// The body of an arm, with its comma. A block is taken as it is: the compiler reports best what is wrong inside.
fn body(input: ParseStream, arrow: Token![=>]) -> Parsed<TokenStream> {
    if input.is_empty() || input.peek(Token![,]) {
        return fault(
            arrow,
            "expected the body of the arm behind `=>`; `{}` if there is nothing to do",
        );
    }
    if input.peek(token::Brace) && !is_continued(input) {
        let block = operation::block(input)?.into_token_stream();
        input.parse::<Option<Token![,]>>()?;
        return Ok(block);
    }
    let body = Expr::parse_with_earlier_boundary_rule(input)?;
    if input.peek(Token![,]) {
        input.parse::<Token![,]>()?;
    } else if !input.is_empty() && !ends_in_braces(&body) {
        return Err(input
            .error("expected a comma between the body of an arm and the next arm")
            .into());
    }
    Ok(body.into_token_stream())
}

/// Whether the block ahead is only the beginning of an expression: `{ .. }.method()`.
fn is_continued(input: ParseStream) -> bool {
    let ahead = input.fork();
    let block: Result<TokenTree> = ahead.parse();
    block.is_ok() && (ahead.peek(Token![?]) || ahead.peek(Token![.]) && !ahead.peek(Token![..]))
}

/// The expressions after which `match` wants no comma.
fn ends_in_braces(body: &Expr) -> bool {
    matches!(
        body,
        Expr::Block(_)
            | Expr::Const(_)
            | Expr::ForLoop(_)
            | Expr::If(_)
            | Expr::Loop(_)
            | Expr::Match(_)
            | Expr::TryBlock(_)
            | Expr::Unsafe(_)
            | Expr::While(_)
    )
}

/// Skips the rest of a faulty line: its body, or up to and with the next comma.
fn skip_line(input: ParseStream) {
    while let Ok(token) = input.parse::<TokenTree>() {
        if operation::is(&token, ',') {
            return;
        }
        if operation::is(&token, '=') && input.peek(Token![>]) {
            let _: Result<Token![>]> = input.parse();
            return skip_body(input);
        }
    }
}

pub(super) fn skip_body(input: ParseStream) {
    if input.peek(token::Brace) && !is_continued(input) {
        let _: Result<TokenTree> = input.parse();
        let _: Result<Option<Token![,]>> = input.parse();
        return;
    }
    while let Ok(token) = input.parse::<TokenTree>() {
        if operation::is(&token, ',') {
            return;
        }
    }
}
