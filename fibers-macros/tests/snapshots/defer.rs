// f(a, 1)
fn expansion() {
    let __v0 = a;
    let __deferred = fibers::defer(|| {
        f(__v0, 1);
    });
}

// self.wg.done()
fn expansion() {
    let __deferred = fibers::defer(|| {
        self.wg.done();
    });
}

// log.clone().push(x)
fn expansion() {
    #[allow(unused_mut)]
    let mut __v0 = log.clone();
    let __v1 = x;
    let __deferred = fibers::defer(|| {
        __v0.push(__v1);
    });
}

// a(); b()
fn expansion() {
    let __deferred = fibers::defer(|| {
        a();
        b()
    });
}

// tx <- v
fn expansion() {
    let __v0 = v;
    let __deferred = fibers::defer(|| {
        fibers::__private::sent(
            fibers::__private::Op::perform(fibers::__private::transmit(&tx, __v0)),
        );
    });
}

// || f()
fn expansion() {
    let __deferred = fibers::defer(|| f());
}

