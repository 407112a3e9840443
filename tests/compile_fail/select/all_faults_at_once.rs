use fibers::{channel, select};

fn main() {
    let (tx, rx) = channel::<u32>(1);
    select! {
        biased
        let a = <-rx => {}
        b := <-rx => {}
        tx <- => {}
        <-rx else { return } => {}
        default if true => {}
        c = <-rx => {}
    }
}
