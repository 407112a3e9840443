use fibers::sync::OnceCell;
use std::rc::Rc;

static CELL: OnceCell<Rc<str>> = OnceCell::new();

fn main() {
    CELL.get_or_init(|| "shared".into());
}
