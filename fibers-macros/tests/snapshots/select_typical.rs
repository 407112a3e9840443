// select! {
//     Ok(job) = <-jobs else { break } => work(job),
//     results <- result if pending => pending = false,
//     _ = <-quit => return,
// }
fn expansion() {
    {
        use fibers::__private::Selected3 as __Selected;
        let __out = fibers::__private::Op::perform(
            fibers::__private::choice((
                fibers::__private::arm(
                    fibers::__private::receive(&jobs),
                    __Selected::A0,
                    &fibers::__private::Arm {
                        text: "Ok (job) = <- jobs",
                        file: "src/main.rs",
                        line: 1u32,
                        column: 1u32,
                    },
                ),
                if pending {
                    ::core::option::Option::Some(
                        fibers::__private::arm(
                            fibers::__private::transmit(&results, result),
                            __Selected::A1,
                            &fibers::__private::Arm {
                                text: "results <- result if pending",
                                file: "src/main.rs",
                                line: 1u32,
                                column: 1u32,
                            },
                        ),
                    )
                } else {
                    ::core::option::Option::None
                },
                fibers::__private::arm(
                    fibers::__private::receive(&quit),
                    __Selected::A2,
                    &fibers::__private::Arm {
                        text: "_ = <- quit",
                        file: "src/main.rs",
                        line: 1u32,
                        column: 1u32,
                    },
                ),
            )),
        );
        match __out {
            __Selected::A0(__value) => {
                let Ok(job) = __value else { break };
                work(job)
            }
            __Selected::A1(__value) => {
                fibers::__private::sent(__value);
                pending = false;
            }
            __Selected::A2(__value) => {
                ::core::mem::drop(__value);
                return;
            }
        }
    }
}

