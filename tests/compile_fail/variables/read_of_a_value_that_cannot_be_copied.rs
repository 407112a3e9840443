use fibers::sync::MVar;

struct Unique;

fn main() {
    let mvar = MVar::new(Unique);
    mvar.read();
}
