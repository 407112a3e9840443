use fibers::defer;

fn main() {
    let _guard = defer! { println!("at the end") };
}
