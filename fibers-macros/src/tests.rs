//! Snapshots of expansions, and what the parser must never do.
//!
//! A snapshot is a file `tests/snapshots/MACRO_NAME.rs` that shows an input and, below it, its expansion, as a reader of
//! `cargo expand` would meet it. `UPDATE_SNAPSHOTS=1 cargo test -p fibers-macros` writes them anew.

use crate::attribute::{Kind, attribute};
use crate::{defer, go, select};
use proc_macro2::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};
use std::fmt::Write as _;
use std::path::Path;
use syn::Result;

fn tokens(source: &str) -> TokenStream {
    source.parse().expect("the input of a test consists of tokens")
}

/// With the path that the facade hands in.
fn through_facade(source: &str) -> TokenStream {
    tokens(&format!("[fibers] {source}"))
}

/// Compares the expansion of each input with what is stored, or stores it.
fn snapshot(name: &str, inputs: &[&str], expand: impl Fn(&str) -> TokenStream) {
    let mut text = String::new();
    for input in inputs {
        for line in input.lines() {
            writeln!(text, "// {line}").unwrap();
        }
        let expansion = expand(input);
        let function = syn::parse2(quote::quote! { fn expansion() { #expansion } });
        let items = function.or_else(|_| syn::parse2(expansion)).expect("an expansion is Rust");
        writeln!(text, "{}", prettyplease::unparse(&items)).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/snapshots/{name}.rs"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        return std::fs::write(path, text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).expect("UPDATE_SNAPSHOTS=1 writes the snapshots");
    assert_eq!(
        stored,
        text,
        "the expansion differs from {}; UPDATE_SNAPSHOTS=1 accepts it",
        path.display()
    );
}

fn expanded(result: Result<TokenStream>) -> TokenStream {
    result.unwrap_or_else(|error| panic!("refused: {error}"))
}

#[test]
fn select_snapshots() {
    let select = |input: &str| expanded(select::select(through_facade(input)));
    snapshot(
        "select_typical",
        &[
            "select! {\n    Ok(job) = <-jobs else { break } => work(job),\n    results <- result if pending => pending = false,\n    \
           _ = <-quit => return,\n}",
        ],
        |input| select(&input["select! {".len()..input.len() - 1]),
    );
    snapshot(
        "select_receive",
        &[
            "v = <-rx => f(v)",
            "<-rx => {}",
            "_ = <-self.jobs[i].rx() => {}",
            "<-&rx => {}",
        ],
        select,
    );
    snapshot(
        "select_send",
        &[
            "tx <- item => sent()",
            "r = tx <- f(x) => r?",
            "self.jobs[i].tx <- Job { id } => {}",
        ],
        select,
    );
    snapshot(
        "select_other",
        &["conn = listener.accept_op() => serve(conn)", "x = if c { a } else { b } => x"],
        select,
    );
    snapshot(
        "select_patterns",
        &[
            "Ok(v) = <-rx => f(v)",
            "Ok(v) = <-rx else { continue } => f(v)",
            "v: Result<u8, _> = <-rx => v",
            "A(x) | B(x) = op => x",
        ],
        select,
    );
    snapshot(
        "select_conditions",
        &[
            "v = <-rx if !paused => f(v)",
            "tx <- queue.front().clone() if !queue.is_empty() => {}",
            "v = <-a.b().c if open => {}",
            "f(&g(), h().as_str()) if Some(1) == x.get(|| { 1 }) => {}",
        ],
        select,
    );
    snapshot(
        "select_default",
        &["v = <-rx => f(v), default => idle()", "default => idle()"],
        select,
    );
    snapshot("select_biased", &["biased; v = <-rx => f(v), w = <-ry => f(w)"], select);
    snapshot("select_empty", &[""], select);
    let many: String = (0..18).map(|n| format!("r{n} = <-rx{n} => r{n},\n")).collect();
    snapshot("select_many", &[&many], select);
}

#[test]
fn go_snapshots() {
    let go = |input: &str| expanded(go::go(through_facade(input)));
    snapshot(
        "go_calls",
        &[
            "f(a, b.c, 3)",
            "Type::f::<u8>()",
            "x.m(a)",
            "x.clone().m::<u8>(&*a)",
            "table[i](|| 1)",
            "(self.f)(x)",
        ],
        go,
    );
    snapshot(
        "go_others",
        &[
            "{ a(); b() }",
            "a(); b()",
            "for x in rx { f(x) }",
            "move || 3",
            "tx <- v",
            "<-self.rx",
        ],
        go,
    );
    snapshot(
        "go_options",
        &[
            "name = \"acceptor\", stack = 1 << 20; f(a)",
            "local; f(a)",
            "spread, clone(tx, wg); { f(tx, wg) }",
            "worker = 1; f(a)",
            "name = n, local; f(a)",
            "scope = s; f(a)",
            "scope = s, name = n; f(a)",
        ],
        go,
    );
}

#[test]
fn defer_snapshots() {
    let defer = |input: &str| expanded(defer::defer(through_facade(input)));
    snapshot(
        "defer",
        &[
            "f(a, 1)",
            "self.wg.done()",
            "log.clone().push(x)",
            "a(); b()",
            "tx <- v",
            "|| f()",
        ],
        defer,
    );
}

#[test]
fn attribute_snapshots() {
    let main = |input: &str| {
        let (options, item) = input.split_once(']').unwrap();
        let options = options.trim_start_matches("#[fibers::main").trim_matches(['(', ')']);
        attribute(Kind::Main, tokens(options), tokens(item))
    };
    snapshot(
        "attribute_main",
        &[
            "#[fibers::main]\nfn main() { body() }",
            "#[fibers::main(workers = 2, crate = f)]\nfn main() -> R { body() }",
        ],
        main,
    );
    let test = |input: &str| attribute(Kind::Test, TokenStream::new(), tokens(&input["#[fibers::test]".len()..]));
    snapshot(
        "attribute_test",
        &["#[fibers::test]\n#[should_panic]\nfn panics() { body() }"],
        test,
    );
}

/// How many arms were understood and how many mistakes were found.
fn faults(source: &str) -> usize {
    select::select(through_facade(source)).map_or_else(|error| error.into_iter().count(), |_| 0)
}

#[test]
fn arrows_and_comparisons() {
    for fine in [
        "v = f(a < -b) => {}",
        "v = Matrix::<-1>::op() => {}",
        "v = f(1 <<-b) => {}",
        "v = <-rx if a < -b => {}",
        "tx <- -1 => {}",
        "tx <- a < -b => {}",
        "x <- |v| v + 1 => {}",
        "f::<A, B>(x) <- v => {}",
        "tx <- if c { 1 } else { 2 } if d => {}",
        "tx <- S { x } => {}",
        "v = <-rx if S { x } == y => {}",
        "(a + b) <- c => {}",
        "*a <- c => {} <-*b => {}",
        "default = <-default => {} default <- biased => {} default => {}",
        "biased = biased => {}",
        "v = a => if x { 1 } else { 2 } w = b => match x {} u = c => { 1 }.f(), t = d => unsafe { 1 }",
    ] {
        assert_eq!(faults(fine), 0, "{fine}");
    }
}

#[test]
fn each_faulty_arm_is_one_mistake() {
    for (count, source) in [
        (1, "a <- b <- c => {}"),
        (1, "v = <-rx { f(v) } w = <-rx => {}"),
        (1, "v = <-rx if open { f(v) } w = <-rx => {}"),
        (2, "v := <-rx => f(v), tx <- => {} w = <-rx => {}"),
        (3, "<- => {} tx <- , x = => {}"),
        (1, "v = <-rx, if c => {}"),
        (1, "rx -> v => {} tx <- 1 => {}"),
        (2, "case v := <-rx: f(v) case <-ry: g() "),
        (1, "v = <-rx => f(v) w = <-rx => g(w)"),
        (1, "biased, v = <-rx => {}"),
        (1, "v = <-rx =>"),
        (1, "v = <-rx => {} default => {} default => {}"),
        (1, "tx <- <-rx => {}"),
        (1, ", "),
    ] {
        assert_eq!(faults(source), count, "{source}");
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % n as u64).unwrap()
    }

    fn tokens(&mut self, depth: usize) -> TokenStream {
        (0..self.below(9)).flat_map(|_| self.token(depth)).collect()
    }

    /// One token, or a few that belong together: mostly such as mean something.
    fn token(&mut self, depth: usize) -> TokenStream {
        const PIECES: [&str; 44] = [
            "<-", "=>", "->", ":=", "=", ",", ";", ":", "::", "<", "-", "|", "&", ".", "?", "!", "#", "..", "rx", "tx", "v", "_",
            "Ok", "default", "biased", "if", "else", "let", "case", "move", "async", "await", "match", "local", "name", "clone",
            "scope", "return", "fn", "1", "\"x\"", "'a", "self", "=>",
        ];
        match self.below(12) {
            0 if depth > 0 => {
                let delimiters = [Delimiter::Brace, Delimiter::Parenthesis, Delimiter::Bracket, Delimiter::None];
                let group = Group::new(delimiters[self.below(4)], self.tokens(depth - 1));
                TokenTree::from(group).into()
            }
            1 => TokenTree::from(Punct::new(['<', '-', '=', '>', '|'][self.below(5)], Spacing::Alone)).into(),
            2 => TokenTree::from(Literal::usize_unsuffixed(self.below(9))).into(),
            3 => TokenTree::from(Ident::new("x", Span::call_site())).into(),
            _ => tokens(match PIECES[self.below(PIECES.len())] {
                "'a" => "'a: loop",
                piece => piece,
            }),
        }
    }
}

/// A correct input with one token left out, doubled, or exchanged for a random one.
fn mutated(random: &mut Random, source: &TokenStream) -> TokenStream {
    let mut tokens: Vec<_> = source.clone().into_iter().collect();
    for _ in 0..=random.below(3) {
        let at = random.below(tokens.len().max(1));
        let replacement: Vec<_> = match random.below(3) {
            0 => vec![],
            1 => tokens
                .get(at)
                .into_iter()
                .flat_map(|token| [token.clone(), token.clone()])
                .collect(),
            _ => random.token(2).into_iter().collect(),
        };
        tokens.splice(at..(at + 1).min(tokens.len()), replacement);
    }
    tokens.into_iter().collect()
}

/// Whatever comes in, an answer comes out. `FUZZ_SEED` repeats a run.
#[test]
fn random_tokens_never_panic() {
    let seed = std::env::var("FUZZ_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            now.as_secs()
        });
    println!("FUZZ_SEED={seed}");
    let mut random = Random(seed);
    let correct = [
        "biased; v = <-rx if c => {} Ok(v) = <-a.b[0] else { break } => f(v), default => 1",
        "r = tx <- S { x } if a < -b => g(|x| x), w: T<u8> = x.y::<A>() => match w { _ => 1 } tx <- if c { 1 } else { 2 } => {}",
        "name = n, stack = 1 << 20, local, scope = s, clone(a, b); x.f(y)(z)",
    ];
    let correct = correct.map(tokens);
    for round in 0..20_000 {
        let input = if round % 2 == 0 {
            random.tokens(3)
        } else {
            mutated(&mut random, &correct[round / 2 % correct.len()])
        };
        let with_root: TokenStream = tokens("[fibers]").into_iter().chain(input.clone()).collect();
        let _ = select::select(with_root.clone());
        let _ = go::go(with_root.clone());
        let _ = defer::defer(with_root);
        let _ = attribute(Kind::Main, input.clone(), tokens("fn main() {}"));
        let _ = attribute(Kind::Test, TokenStream::new(), input);
    }
}
