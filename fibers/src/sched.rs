//! A stand-in until the scheduler lands: every fiber is an OS thread.
#![allow(
    unsafe_code,
    dead_code,
    missing_debug_implementations,
    missing_docs,
    unused,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::missing_safety_doc
)]
use std::{any::Any, fmt, io, panic::Location, ptr::NonNull, sync::Arc};
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskRef(NonNull<()>);
#[derive(Clone, Copy, Debug)]
pub struct Here(*const ());
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Resumed {
    Ready,
    Unwind,
    Deadlock,
}
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitKind {
    Receive,
    Send,
    Time,
    Join,
    Other,
}
pub(crate) struct Wait<'a> {
    pub(crate) kind: WaitKind,
    pub(crate) report: &'a dyn Report,
}
pub(crate) trait Report {
    fn report(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}
#[derive(Clone, Copy)]
pub(crate) struct Alarm {
    pub(crate) data: *const (),
    pub(crate) fire: unsafe fn(*const ()),
}
pub(crate) fn here() -> Option<Here> {
    None
}
impl Here {
    pub(crate) fn task(self) -> TaskRef {
        unreachable!()
    }
    pub(crate) fn park(self, wait: Wait<'_>) -> Resumed {
        unreachable!()
    }
    pub(crate) fn ready(self, t: TaskRef) {
        unreachable!()
    }
    pub(crate) fn random(self) -> u64 {
        unreachable!()
    }
    pub(crate) fn arm(self, d: u64, a: Alarm) -> crate::timer::Key {
        unreachable!()
    }
    pub(crate) fn disarm(self, k: crate::timer::Key) -> bool {
        unreachable!()
    }
    pub(crate) fn forbid_suspend(self, why: &'static str) -> () {
        unreachable!()
    }
}
pub(crate) fn ready(t: TaskRef) {
    unreachable!()
}
pub(crate) fn give_up(r: Resumed) -> ! {
    unreachable!()
}
pub(crate) fn now_ns() -> u64 {
    crate::sys::monotonic_ns()
}
pub(crate) fn is_unwind(p: &(dyn Any + Send)) -> bool {
    false
}
pub(crate) trait Body {
    fn run(&self, cancelled: bool);
}
pub(crate) struct FiberRef<B>(Arc<B>, Option<Box<str>>);
impl<B> std::ops::Deref for FiberRef<B> {
    type Target = B;
    fn deref(&self) -> &B {
        &self.0
    }
}
impl<B: 'static> FiberRef<B> {
    pub(crate) fn erase(self) -> TaskHandle {
        TaskHandle(self.0, self.1)
    }
}
pub(crate) struct TaskHandle(Arc<dyn Any>, Option<Box<str>>);
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct FiberId(u64);
impl fmt::Display for FiberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl TaskHandle {
    pub(crate) fn id(&self) -> FiberId {
        FiberId(Arc::as_ptr(&self.0).addr() as u64)
    }
    pub(crate) fn name(&self) -> Option<&str> {
        self.1.as_deref()
    }
    pub(crate) fn cancel_blocking(&self) -> bool {
        false
    }
}
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Place {
    #[default]
    Auto,
    Spread,
    Worker(usize),
    Local,
}
pub(crate) struct Spec {
    pub name: Option<Box<str>>,
    pub stack_size: Option<usize>,
    pub place: Place,
    pub site: &'static Location<'static>,
}
struct S<T>(T);
unsafe impl<T> Send for S<T> {}
pub(crate) unsafe fn spawn<B: Body + 'static>(s: Spec, b: B) -> io::Result<FiberRef<B>> {
    let a = Arc::new(b);
    let c = S(a.clone());
    let mut t = std::thread::Builder::new();
    if let Some(n) = &s.name {
        t = t.name(n.to_string())
    }
    t.spawn(move || {
        let c = c;
        c.0.run(false)
    })?;
    Ok(FiberRef(a, s.name))
}
pub(crate) unsafe fn submit_blocking<B: Body + 'static>(s: Spec, b: B) -> io::Result<FiberRef<B>> {
    unsafe { spawn(s, b) }
}
#[derive(Clone, Debug)]
pub struct Handle;
impl Handle {
    pub fn current() -> Handle {
        Handle
    }
    pub(crate) unsafe fn spawn_raw<B: Body + 'static>(&self, s: Spec, b: B) -> io::Result<FiberRef<B>> {
        unsafe { spawn(s, b) }
    }
}
#[derive(Clone, Debug)]
pub struct Fiber;
impl Fiber {
    pub fn id(&self) -> FiberId {
        FiberId(0)
    }
    pub fn name(&self) -> Option<String> {
        std::thread::current().name().map(str::to_owned)
    }
}
pub fn current() -> Fiber {
    Fiber
}
pub fn yield_now() {
    std::thread::yield_now()
}
pub fn run<T>(f: impl FnOnce() -> T) -> T {
    f()
}
#[derive(Clone, Copy, Debug)]
pub enum Shutdown {
    Unwind,
    Drain,
    Leak,
}
#[derive(Debug)]
pub struct Runtime;
impl Runtime {
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder
    }
    pub fn run<T>(&self, f: impl FnOnce() -> T) -> T {
        f()
    }
    pub fn handle(&self) -> Handle {
        Handle
    }
}
#[derive(Debug)]
pub struct RuntimeBuilder;
impl RuntimeBuilder {
    pub fn workers(self, n: usize) -> Self {
        self
    }
    pub fn stack_size(self, n: usize) -> Self {
        self
    }
    pub fn guard_size(self, n: usize) -> Self {
        self
    }
    pub fn seed(self, n: u64) -> Self {
        self
    }
    pub fn shutdown(self, s: Shutdown) -> Self {
        self
    }
    pub fn pin(self, b: bool) -> Self {
        self
    }
    pub fn blocking_threads(self, n: usize) -> Self {
        self
    }
    pub fn blocking_queue(self, n: usize) -> Self {
        self
    }
    pub fn build(self) -> io::Result<Runtime> {
        Ok(Runtime)
    }
}
