//! Lines as other languages and crates write them: what to write here instead.

use super::parse::{Fault, Parsed, fault, skip_body};
use crate::operation::text;
use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::parse::discouraged::Speculative;
use syn::{Error, Expr, Pat, Result, Token, token};

/// Go, `match` and Tokio: lines that begin like nothing here.
pub(super) fn reject(input: ParseStream) -> Parsed<()> {
    if input.peek(Token![let]) {
        return fault(input.parse::<Token![let]>()?, "leave out the `let`: `v = <-rx => ..`");
    }
    if input.peek(Token![else]) {
        return fault(input.parse::<Token![else]>()?, DEFAULT_HINT);
    }
    if input.peek(Token![_]) && input.peek2(Token![=>]) {
        return fault(input.parse::<Token![_]>()?, DEFAULT_HINT);
    }
    go_lines(input)
}

const DEFAULT_HINT: &str = "what runs when nothing is ready is called `default`: `default => ..`";

fn go_lines(input: ParseStream) -> Parsed<()> {
    let ahead = input.fork();
    let Ok(word) = Ident::parse_any(&ahead) else {
        return Ok(());
    };
    let name_follows = ahead.peek(syn::Ident::peek_any) && !ahead.peek(Token![if]) && !ahead.peek(Token![as]);
    if word == "case" && (name_follows || ahead.peek(Token![<-])) {
        skip_case(input);
        let message = "no `case` and no `:`, an arm reads like one of `match`: `v = <-rx => { .. }`, `tx <- value => { .. }`";
        return Err(Fault {
            error: Error::new_spanned(word, message),
            skip: false,
        });
    }
    if word != "default" {
        return Ok(());
    }
    if ahead.peek(Token![:]) && !ahead.peek(Token![::]) && !ahead.peek2(Token![=]) {
        skip_case(input);
        let message = "no `:` behind `default`: write `default => { .. }`";
        return Err(Fault {
            error: Error::new_spanned(word, message),
            skip: false,
        });
    }
    if ahead.peek(token::Brace) || ahead.peek(Token![,]) {
        input.advance_to(&ahead);
        skip_body(input);
        let message = "expected `=>` behind `default`: `default => { .. }`";
        return Err(Fault {
            error: Error::new_spanned(word, message),
            skip: false,
        });
    }
    if ahead.peek(token::Paren) && ahead.parse::<TokenTree>().is_ok() && ahead.peek(Token![=>]) {
        let message = "`default` takes no duration: write an arm, `_ = fibers::time::sleep_op(duration) => ..`";
        return fault(word, message);
    }
    Ok(())
}

/// `rx -> v`, and crossbeam's `recv(rx) -> v` and `send(tx, x) -> r`.
pub(super) fn thin_arrow(input: ParseStream) -> Parsed<()> {
    let mut before = TokenStream::new();
    while !input.is_empty() && !input.peek(Token![=>]) {
        if input.peek(Token![->]) {
            let arrow: Token![->] = input.parse()?;
            return fault(arrow, &thin_arrow_message(before, input));
        }
        before.extend([input.parse::<TokenTree>()?]);
    }
    Ok(())
}

fn thin_arrow_message(before: TokenStream, behind: ParseStream) -> String {
    let target = behind
        .call(Pat::parse_single)
        .map_or_else(|_| "v".into(), |pattern| text(pattern.to_token_stream()));
    if let Ok(Expr::Call(call)) = syn::parse2(before.clone()) {
        let argument = |i: usize| call.args.get(i).map(|argument| text(argument.to_token_stream()));
        match (call.func.to_token_stream().to_string().as_str(), argument(0), argument(1)) {
            ("recv", Some(rx), None) => return format!("to receive, write `{target} = <-{rx} => ..`"),
            ("send", Some(tx), Some(value)) => return format!("to send, write `{target} = {tx} <- {value} => ..`"),
            _ => {}
        }
    }
    let name = text(before);
    format!("`->` is no operation: to receive, write `{target} = <-{name} => ..`; to send, write `{name} <- {target} => ..`")
}

/// Skips one `case` of Go: up to the next `case`, `default`, or the end.
fn skip_case(input: ParseStream) {
    let _: Result<TokenTree> = input.parse();
    while !input.is_empty() {
        let ahead = input.fork();
        if Ident::parse_any(&ahead).is_ok_and(|word| word == "case" || word == "default") {
            return;
        }
        let _: Result<TokenTree> = input.parse();
    }
}
