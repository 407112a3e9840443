// name = "acceptor", stack = 1 << 20; f(a)
fn expansion() {
    {
        let __builder = fibers::fiber::Builder::new()
            .name("acceptor")
            .stack_size(1 << 20);
        __builder.spawn(move || f(a)).expect("go! could not start a fiber")
    }
}

// local; f(a)
fn expansion() {
    fibers::spawn_local(move || f(a))
}

// spread, clone(tx, wg); { f(tx, wg) }
fn expansion() {
    {
        let __builder = fibers::fiber::Builder::new().spread();
        let tx = ::core::clone::Clone::clone(&tx);
        let wg = ::core::clone::Clone::clone(&wg);
        __builder.spawn(move || { f(tx, wg) }).expect("go! could not start a fiber")
    }
}

// worker = 1; f(a)
fn expansion() {
    {
        let __builder = fibers::fiber::Builder::new().worker(1);
        __builder.spawn(move || f(a)).expect("go! could not start a fiber")
    }
}

// name = n, local; f(a)
fn expansion() {
    {
        let __builder = fibers::fiber::Builder::new().name(n);
        __builder.spawn_local(move || f(a)).expect("go! could not start a fiber")
    }
}

// scope = s; f(a)
fn expansion() {
    s.spawn(move || f(a))
}

// scope = s, name = n; f(a)
fn expansion() {
    {
        let __builder = fibers::fiber::Builder::new().name(n);
        __builder.spawn_scoped(&s, move || f(a)).expect("go! could not start a fiber")
    }
}

