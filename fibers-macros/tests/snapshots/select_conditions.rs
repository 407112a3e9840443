// v = <-rx if !paused => f(v)
fn expansion() {
    {
        use fibers::__private::Selected1 as __Selected;
        let __out = fibers::__private::Op::perform(
            fibers::__private::choice((
                if !paused {
                    ::core::option::Option::Some(
                        fibers::__private::arm(
                            fibers::__private::receive(&rx),
                            __Selected::A0,
                            &fibers::__private::Arm {
                                text: "v = <- rx if ! paused",
                                file: "src/main.rs",
                                line: 1u32,
                                column: 1u32,
                            },
                        ),
                    )
                } else {
                    ::core::option::Option::None
                },
            )),
        );
        match __out {
            __Selected::A0(v) => f(v),
        }
    }
}

// tx <- queue.front().clone() if !queue.is_empty() => {}
fn expansion() {
    {
        use fibers::__private::Selected1 as __Selected;
        let __out;
        {
            #[allow(unused_mut)]
            let mut __t0;
            __out = fibers::__private::Op::perform(
                fibers::__private::choice((
                    if !queue.is_empty() {
                        ::core::option::Option::Some(
                            fibers::__private::arm(
                                fibers::__private::transmit(
                                    &tx,
                                    {
                                        __t0 = queue.front();
                                        __t0.clone()
                                    },
                                ),
                                __Selected::A0,
                                &fibers::__private::Arm {
                                    text: "tx <- queue . front () . clone () if ! queue . is_empty ()",
                                    file: "src/main.rs",
                                    line: 1u32,
                                    column: 1u32,
                                },
                            ),
                        )
                    } else {
                        ::core::option::Option::None
                    },
                )),
            );
        }
        match __out {
            __Selected::A0(__value) => {
                fibers::__private::sent(__value);
                {}
            }
        }
    }
}

// v = <-a.b().c if open => {}
fn expansion() {
    {
        use fibers::__private::Selected1 as __Selected;
        let __out;
        {
            #[allow(unused_mut)]
            let mut __t0;
            __out = fibers::__private::Op::perform(
                fibers::__private::choice((
                    if open {
                        ::core::option::Option::Some(
                            fibers::__private::arm(
                                {
                                    __t0 = a.b();
                                    fibers::__private::receive(&__t0.c)
                                },
                                __Selected::A0,
                                &fibers::__private::Arm {
                                    text: "v = <- a . b () . c if open",
                                    file: "src/main.rs",
                                    line: 1u32,
                                    column: 1u32,
                                },
                            ),
                        )
                    } else {
                        ::core::option::Option::None
                    },
                )),
            );
        }
        match __out {
            __Selected::A0(v) => {}
        }
    }
}

// f(&g(), h().as_str()) if Some(1) == x.get(|| { 1 }) => {}
fn expansion() {
    {
        use fibers::__private::Selected1 as __Selected;
        let __out;
        {
            #[allow(unused_mut)]
            let mut __t0;
            #[allow(unused_mut)]
            let mut __t1;
            __out = fibers::__private::Op::perform(
                fibers::__private::choice((
                    if Some(1) == x.get(|| { 1 }) {
                        ::core::option::Option::Some(
                            fibers::__private::arm(
                                f(
                                    {
                                        __t0 = g();
                                        &__t0
                                    },
                                    {
                                        __t1 = h();
                                        __t1.as_str()
                                    },
                                ),
                                __Selected::A0,
                                &fibers::__private::Arm {
                                    text: "f (& g () , h () . as_str ()) if Some (1) == x . get (| | { 1 })",
                                    file: "src/main.rs",
                                    line: 1u32,
                                    column: 1u32,
                                },
                            ),
                        )
                    } else {
                        ::core::option::Option::None
                    },
                )),
            );
        }
        match __out {
            __Selected::A0(__value) => {
                ::core::mem::drop(__value);
                {}
            }
        }
    }
}

