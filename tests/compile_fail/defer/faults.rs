use fibers::defer;

fn f() -> Result<(), ()> {
    Ok(())
}

fn main() {
    defer!();
    defer!(f);
    defer!(f()?);
    defer!(async { 1 });
    defer! { f().unwrap(); tx <- 1 }
}
