use fibers::defer;

fn f() -> Result<(), ()> {
    defer! { f()?; }
    Ok(())
}

fn main() {
    f().unwrap();
}
