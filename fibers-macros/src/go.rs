//! `go!`: starts a fiber.
//!
//! ```text
//! go      =  [ option ("," option)* ";" ] action
//! option  =  "name" "=" expr | "stack" "=" expr | "worker" "=" expr | "scope" "=" expr
//!         |  "local" | "spread" | "clone" "(" name ("," name)* ")"
//! ```
//!
//! The action, and what of it is evaluated now, is the business of [`crate::action`]. Options are recognised by their first
//! word, so that a block of statements may stand without braces of its own: `go! { a(); b() }`.

use crate::action::{Action, Eager, Keep};
use crate::error::{Errors, braced};
use crate::operation::Root;
use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Result, Token, token};

/// The expansion of `[root] options; action`.
pub(crate) fn go(input: TokenStream) -> Result<TokenStream> {
    let (root, options, action) = parse.parse2(input)?;
    Ok(expand(&root, &options, &action))
}

fn parse(input: ParseStream) -> Result<(Root, Options, Action)> {
    let root = input.parse()?;
    let mut errors = Errors::default();
    let options = if Options::ahead(input) {
        Options::parse(input, &mut errors)?
    } else {
        Options::default()
    };
    options.check(&mut errors);
    let action = errors.keep(Action::parse(input, "go!"));
    let Some(action) = action else {
        return Err(errors.finish(()).expect_err("an action was refused"));
    };
    errors.finish((root, options, action))
}

/// What stands before the semicolon.
#[derive(Default)]
struct Options {
    name: Option<(Ident, Expr)>,
    stack: Option<(Ident, Expr)>,
    worker: Option<(Ident, Expr)>,
    scope: Option<(Ident, Expr)>,
    local: Option<Ident>,
    spread: Option<Ident>,
    clone: Option<Ident>,
    /// The variables in `clone(..)`.
    clones: Vec<Ident>,
}

const KNOWN: [&str; 7] = ["name", "stack", "local", "spread", "worker", "scope", "clone"];

impl Options {
    /// Whether options stand ahead, known or not. What looks like one and is a statement goes into braces.
    fn ahead(input: ParseStream) -> bool {
        let ahead = input.fork();
        let Ok(word) = ahead.call(Ident::parse_any) else {
            return false;
        };
        let is_known = KNOWN.iter().any(|known| word == known);
        if ahead.peek(token::Paren) {
            let _: Result<TokenTree> = ahead.parse();
            return word == "clone" && (ahead.is_empty() || ahead.peek(Token![;]) || ahead.peek(Token![,]));
        }
        let is_assigned = ahead.peek(Token![=]) && !ahead.peek(Token![==]) && !ahead.peek(Token![=>]);
        let is_keyword = syn::parse_str::<syn::Ident>(&word.to_string()).is_err();
        !is_keyword && (is_assigned || ahead.peek(Token![,]) || ahead.peek(Token![;]))
            || is_known && word != "clone" && ahead.is_empty()
    }

    fn parse(input: ParseStream, errors: &mut Errors) -> Result<Options> {
        let mut options = Options::default();
        loop {
            let word = input.fork().call(Ident::parse_any);
            options.one(input, errors)?;
            if input.peek(Token![;]) {
                input.parse::<Token![;]>()?;
                return Ok(options);
            }
            let comma: Option<Token![,]> = input.parse()?;
            if comma.is_none() || input.is_empty() {
                return Err(if input.is_empty() {
                    Error::new_spanned(word?, UNTERMINATED)
                } else {
                    input.error(UNTERMINATED)
                });
            }
        }
    }

    fn one(&mut self, input: ParseStream, errors: &mut Errors) -> Result<()> {
        if !Options::ahead(input) {
            return Err(input.error(UNTERMINATED));
        }
        let word = input.call(Ident::parse_any)?;
        match word.to_string().as_str() {
            "name" => set(&mut self.name, &word, value(input, &word)?, errors),
            "stack" => set(&mut self.stack, &word, value(input, &word)?, errors),
            "worker" => set(&mut self.worker, &word, value(input, &word)?, errors),
            "scope" => set(&mut self.scope, &word, value(input, &word)?, errors),
            "local" => flag(&mut self.local, input, word, errors),
            "spread" => flag(&mut self.spread, input, word, errors),
            "clone" => {
                self.clones.extend(clones(input, &word, errors)?);
                flag(&mut self.clone, input, word, errors);
            }
            _ => unknown(input, &word, errors),
        }
        Ok(())
    }

    /// Options that exclude each other.
    fn check(&self, errors: &mut Errors) {
        let key = |option: &Option<(Ident, Expr)>| option.as_ref().map(|(word, _)| word.clone());
        let (worker, scope) = (key(&self.worker), key(&self.scope));
        let pairs = [
            (
                &self.local,
                &self.spread,
                "a `local` fiber stays on this worker: leave out `spread`",
            ),
            (
                &self.local,
                &worker,
                "a `local` fiber stays on this worker: leave out `worker`",
            ),
            (
                &self.spread,
                &worker,
                "`spread` and `worker` both say where the fiber starts: leave out one",
            ),
            (&self.local, &scope, "a fiber of a scope may run anywhere: leave out `local`"),
            (&worker, &scope, "a fiber of a scope may run anywhere: leave out `worker`"),
        ];
        for (one, other, message) in pairs {
            if let (Some(word), Some(_)) = (one, other) {
                errors.push(word, message);
            }
        }
    }

    /// Whether a `Builder` is needed.
    fn is_built(&self) -> bool {
        self.name.is_some() || self.stack.is_some() || self.worker.is_some() || self.spread.is_some()
    }
}

const UNTERMINATED: &str =
    "options end with a semicolon, and what the fiber runs follows: `go!(name = \"acceptor\", local; f(a))`";

fn set(option: &mut Option<(Ident, Expr)>, word: &Ident, value: Expr, errors: &mut Errors) {
    if option.replace((word.clone(), value)).is_some() {
        errors.push(word, &format!("`{word}` is given twice"));
    }
}

fn flag(option: &mut Option<Ident>, input: ParseStream, word: Ident, errors: &mut Errors) {
    if input.peek(Token![=]) {
        errors.push(&word, &format!("`{word}` takes no value: write `go!({word}; ..)`"));
        skip_value(input);
    }
    if option.replace(word.clone()).is_some() {
        errors.push(&word, &format!("`{word}` is given twice"));
    }
}

fn value(input: ParseStream, word: &Ident) -> Result<Expr> {
    if !input.peek(Token![=]) {
        return Err(Error::new_spanned(
            word,
            format!("`{word}` needs a value: `go!({word} = ..; ..)`"),
        ));
    }
    input.parse::<Token![=]>()?;
    input.parse()
}

fn unknown(input: ParseStream, word: &Ident, errors: &mut Errors) {
    let message = format!(
        "unknown option `{word}`: `name = ..`, `stack = ..`, `local`, `spread`, `worker = ..`, `scope = ..` and `clone(..)` \
         stand before the `;`; to begin a block of statements with this, put it in braces: `go!({{ .. }})`"
    );
    errors.push(word, &message);
    skip_value(input);
}

fn skip_value(input: ParseStream) {
    while !input.is_empty() && !input.peek(Token![,]) && !input.peek(Token![;]) {
        let _: Result<TokenTree> = input.parse();
    }
}

fn clones(input: ParseStream, word: &Ident, errors: &mut Errors) -> Result<Vec<Ident>> {
    if !input.peek(token::Paren) {
        skip_value(input);
        errors.push(word, "`clone` names the variables to clone: `go!(clone(tx, wg); ..)`");
        return Ok(Vec::new());
    }
    let names;
    syn::parenthesized!(names in input);
    let names = Punctuated::<Expr, Token![,]>::parse_terminated(&names)?;
    let variable = |expr: Expr| match &expr {
        Expr::Path(path) if path.path.get_ident().is_some_and(|name| name != "self") => path.path.get_ident().cloned(),
        _ => {
            errors.push(
                &expr,
                "`clone` takes the names of variables: `let x = ..` before the `go!`, then `clone(x)`",
            );
            None
        }
    };
    Ok(names.into_iter().filter_map(variable).collect())
}

/// ```text
/// // go!(f(a, b.c))                          { let __arg1 = b.c; spawn(move || f(a, __arg1)) }
/// // go!(name = n, clone(tx); { .. })        { let __builder = Builder::new().name(n); let tx = Clone::clone(&tx);
/// //                                           __builder.spawn(move || { .. }).expect("..") }
/// ```
fn expand(root: &Root, options: &Options, action: &Action) -> TokenStream {
    let Eager { setup, closure } = action.evaluate(root, Keep::Variables);
    let builder = builder(root, options);
    let clones = options.clones.iter().map(|name| {
        quote_spanned! {Span::mixed_site()=> let #name = ::core::clone::Clone::clone(&#name); }
    });
    let spawn = spawn(root, options, &closure);
    let before = quote_spanned! {Span::mixed_site()=> #builder #(#clones)* #setup };
    if before.is_empty() {
        spawn
    } else {
        braced(quote_spanned!(Span::mixed_site()=> #before #spawn))
    }
}

/// Evaluated first, as written: an argument may move what a name is made from.
fn builder(root: &Root, options: &Options) -> TokenStream {
    if !options.is_built() {
        return TokenStream::new();
    }
    let value = |option: &Option<(Ident, Expr)>| option.as_ref().map(|(_, value)| value.to_token_stream()).into_iter();
    let (name, stack, worker) = (value(&options.name), value(&options.stack), value(&options.worker));
    let spread = options.spread.iter().map(|_| quote_spanned!(Span::mixed_site()=> .spread()));
    quote_spanned! {Span::mixed_site()=>
        let __builder = #root::fiber::Builder::new()
            #(.name(#name))* #(.stack_size(#stack))* #(#spread)* #(.worker(#worker))*;
    }
}

fn spawn(root: &Root, options: &Options, closure: &TokenStream) -> TokenStream {
    let scope = options.scope.as_ref().map(|(_, scope)| scope);
    let is_local = options.local.is_some();
    let failed = "go! could not start a fiber";
    let site = Span::mixed_site();
    match (options.is_built(), scope) {
        (false, None) if is_local => quote_spanned!(site=> #root::spawn_local(#closure)),
        (false, None) => quote_spanned!(site=> #root::spawn(#closure)),
        (false, Some(scope @ Expr::Path(_))) => quote_spanned!(site=> #scope.spawn(#closure)),
        (false, Some(scope)) => quote_spanned!(site=> (#scope).spawn(#closure)),
        (true, Some(scope)) => {
            quote_spanned!(site=> __builder.spawn_scoped(&#scope, #closure).expect(#failed))
        }
        (true, None) if is_local => {
            quote_spanned!(site=> __builder.spawn_local(#closure).expect(#failed))
        }
        (true, None) => quote_spanned!(site=> __builder.spawn(#closure).expect(#failed)),
    }
}
