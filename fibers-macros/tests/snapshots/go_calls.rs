// f(a, b.c, 3)
fn expansion() {
    {
        let __v0 = b.c;
        fibers::spawn(move || f(a, __v0, 3))
    }
}

// Type::f::<u8>()
fn expansion() {
    fibers::spawn(move || Type::f::<u8>())
}

// x.m(a)
fn expansion() {
    fibers::spawn(move || x.m(a))
}

// x.clone().m::<u8>(&*a)
fn expansion() {
    {
        #[allow(unused_mut)]
        let mut __v0 = x.clone();
        let __v1 = &*a;
        fibers::spawn(move || __v0.m::<u8>(__v1))
    }
}

// table[i](|| 1)
fn expansion() {
    {
        #[allow(unused_mut)]
        let mut __v0 = table[i];
        fibers::spawn(move || __v0(|| 1))
    }
}

// (self.f)(x)
fn expansion() {
    {
        #[allow(unused_mut)]
        let mut __v0 = self.f;
        fibers::spawn(move || __v0(x))
    }
}

