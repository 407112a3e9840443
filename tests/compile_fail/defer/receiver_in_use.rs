use fibers::defer;

fn main() {
    let mut log = vec![1];
    defer!(log.clear());
    log.push(2);
}
