use fibers::{channel, select};

fn main() {
    let (tx, rx) = channel::<u32>(1);
    select! {
        v = <- => drop(v),
        r = tx <- => drop(r),
        w = => drop(w),
        <- if true => {}
        tx <- , 
        default => {}
    }
}
