// { a(); b() }
fn expansion() {
    fibers::spawn(move || {
        a();
        b()
    })
}

// a(); b()
fn expansion() {
    fibers::spawn(move || {
        a();
        b()
    })
}

// for x in rx { f(x) }
fn expansion() {
    fibers::spawn(move || {
        for x in rx {
            f(x)
        }
    })
}

// move || 3
fn expansion() {
    fibers::spawn(move || 3)
}

// tx <- v
fn expansion() {
    fibers::spawn(move || fibers::__private::sent(
        fibers::__private::Op::perform(fibers::__private::transmit(&tx, v)),
    ))
}

// <-self.rx
fn expansion() {
    {
        #[allow(unused_mut)]
        let mut __v0 = self.rx;
        fibers::spawn(move || fibers::__private::Op::perform(
            fibers::__private::receive(&__v0),
        ))
    }
}

