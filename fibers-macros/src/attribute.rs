//! `#[main]` and `#[test]`: a function whose body runs as the main fiber of a runtime.
//!
//! ```text
//! // #[fibers::main(workers = 2)]        fn main() -> T {
//! // fn main() -> T { .. }                   ::fibers::Runtime::builder().workers(2).build().expect("..")
//! //                                             .run(move || -> T { .. })
//! //                                     }
//! ```

use crate::error::{Errors, stub};
use crate::operation;
use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::quote_spanned;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Error, Expr, Path, Result, ReturnType, Signature, Token, Type, Visibility};

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Main,
    Test,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Main => "main",
            Kind::Test => "test",
        }
    }
}

/// The expansion of `#[kind(options)] item`.
pub(crate) fn attribute(kind: Kind, options: TokenStream, item: TokenStream) -> TokenStream {
    let function = match parse_function.parse2(item.clone()) {
        Ok(function) => function,
        Err(_) => return not_a_function(kind, item),
    };
    let mut errors = Errors::default();
    let options = parse_options
        .parse2(options)
        .and_then(|(options, wrong)| wrong.finish(options));
    let options = errors.keep(options);
    check(kind, &function, &mut errors);
    match errors.finish(options) {
        Ok(options) => expand(kind, &options.unwrap_or_default(), &function),
        Err(error) => stub(&error, &function.signature.ident),
    }
}

fn not_a_function(kind: Kind, item: TokenStream) -> TokenStream {
    let name = kind.name();
    let first: TokenStream = item.into_iter().take(1).collect();
    Error::new_spanned(
        first,
        format!("`#[fibers::{name}]` stands before a function: `fn {name}() {{ .. }}`"),
    )
    .to_compile_error()
}

struct Function {
    attributes: Vec<Attribute>,
    visibility: Visibility,
    signature: Signature,
    /// In braces, and not looked into; `None`: there is only a semicolon.
    body: Option<TokenTree>,
}

fn parse_function(input: ParseStream) -> Result<Function> {
    Ok(Function {
        attributes: input.call(Attribute::parse_outer)?,
        visibility: input.parse()?,
        signature: input.parse()?,
        body: if input.peek(Token![;]) {
            input.parse::<Token![;]>().map(|_| None)?
        } else {
            Some(operation::block(input)?)
        },
    })
}

/// What stands in the brackets behind the attribute's name.
#[derive(Default)]
struct Options {
    /// `crate = path`
    root: Option<Path>,
    /// Calls of methods of the builder.
    settings: Vec<(Ident, Expr)>,
}

const SETTINGS: [&str; 5] = ["workers", "stack_size", "guard_size", "seed", "shutdown"];

fn parse_options(input: ParseStream) -> Result<(Options, Errors)> {
    let (mut options, mut errors) = (Options::default(), Errors::default());
    while !input.is_empty() {
        let name = input.call(Ident::parse_any)?;
        if !input.peek(Token![=]) {
            return Err(Error::new_spanned(&name, format!("`{name}` needs a value: `{name} = ..`")));
        }
        input.parse::<Token![=]>()?;
        options.set(name, input, &mut errors)?;
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok((options, errors))
}

impl Options {
    fn set(&mut self, name: Ident, input: ParseStream, errors: &mut Errors) -> Result<()> {
        let is_double = self.settings.iter().any(|(set, _)| *set == name) || name == "crate" && self.root.is_some();
        if is_double {
            errors.push(&name, &format!("`{name}` is given twice"));
        }
        if name == "crate" {
            self.root = Some(Path::parse_mod_style(input)?);
            return Ok(());
        }
        let value = input.parse()?;
        if !SETTINGS.iter().any(|known| name == known) {
            let known = SETTINGS.join("`, `");
            errors.push(&name, &format!("unknown option `{name}`: there are `{known}` and `crate`"));
        }
        self.settings.push((name, value));
        Ok(())
    }
}

fn check(kind: Kind, function: &Function, errors: &mut Errors) {
    let (name, signature) = (kind.name(), &function.signature);
    if let Some(word) = &signature.asyncness {
        errors.push(
            word,
            &format!("fibers need no `async`: write `fn {name}()`, and call what blocks, without `.await`"),
        );
    }
    if let Some(word) = &signature.constness {
        errors.push(word, "a `const fn` cannot run fibers: leave out the `const`");
    }
    if let Some(word) = &signature.unsafety {
        errors.push(word, "leave out the `unsafe`, and put a block of it inside");
    }
    if let Some(abi) = &signature.abi {
        errors.push(
            abi,
            "leave out the `extern`: nobody but Rust's own runtime calls this function",
        );
    }
    if !signature.generics.params.is_empty() {
        errors.push(
            &signature.generics,
            "this function cannot be generic: nobody chooses the parameters",
        );
    }
    if !signature.inputs.is_empty() {
        errors.push(
            &signature.inputs,
            "this function takes no arguments; those of the program are in `std::env::args()`",
        );
    }
    if function.body.is_none() {
        errors.push(&signature.ident, &format!("a body is missing: `fn {name}() {{ .. }}`"));
    }
    let is_test = |attribute: &&Attribute| kind == Kind::Test && attribute.path().is_ident("test");
    if let Some(attribute) = function.attributes.iter().find(is_test) {
        errors.push(attribute, "`#[fibers::test]` makes a test already: leave this out");
    }
}

fn expand(kind: Kind, options: &Options, function: &Function) -> TokenStream {
    let site = Span::mixed_site();
    let Function {
        attributes,
        visibility,
        signature,
        body,
    } = function;
    let output = closure_output(&signature.output);
    let root = options
        .root
        .as_ref()
        .map_or_else(|| quote_spanned!(site=> ::fibers), |path| quote_spanned!(site=> #path));
    let settings = options
        .settings
        .iter()
        .map(|(name, value)| quote_spanned!(name.span()=> .#name(#value)));
    let test = (kind == Kind::Test).then(|| quote_spanned!(site=> #[::core::prelude::v1::test]));
    quote_spanned! {site=>
        #test
        #(#attributes)*
        #visibility #signature {
            #root::Runtime::builder() #(#settings)* .build().expect("the fiber runtime could not be started")
                .run(move || #output #body)
        }
    }
}

/// The return type of the closure; one that only a function may have is left to inference.
fn closure_output(output: &ReturnType) -> TokenStream {
    match output {
        ReturnType::Type(_, ty) if matches!(**ty, Type::ImplTrait(_)) => TokenStream::new(),
        output => quote_spanned!(Span::mixed_site()=> #output),
    }
}
