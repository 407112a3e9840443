use fibers::{Op, sync::OnceCell};

fn main() {
    let mut cell = OnceCell::new();
    let value = cell.get_or_init_op(|| 1).perform();
    cell.take();
    println!("{value}");
}
