//! Runs the programs beside this file as their users would, and checks what they do.

#[expect(dead_code, reason = "the other examples use more of it")]
#[path = "../check/program.rs"]
mod program;
#[path = "check/proxy.rs"]
mod proxy;
#[expect(unreachable_pub, reason = "elsewhere it belongs to a library")]
#[path = "../../tests/packages/unchanged/src/redis_server.rs"]
mod redis_server;
#[path = "check/work_queue.rs"]
mod work_queue;
