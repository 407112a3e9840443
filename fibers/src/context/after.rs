//! Functions that run when a context ends.
//!
//! A function waits in the list of its token and is started by whoever ends that: as a fiber of the runtime in which it was
//! registered, or as a thread if that was outside of any. A deadline ends nothing by itself, so where there is one a fiber (a
//! thread) of its own waits for it, and for the function to be stopped.

use super::Context;
use super::token::Token;
use crate::fiber::Builder;
use crate::op::event::Event;
use crate::op::{Op, event_op};
use crate::prim::plain::AtomicUsize;
use crate::sched::{self, Handle};
use crate::sys;
use std::fmt;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

type Function = Box<dyn FnOnce() + Send>;

impl Context {
    /// Runs `f` once the context has ended: in a fiber of its own, of the runtime in which `after_func` was called. If that was
    /// outside of any runtime, in a thread of its own. At once if the context has ended already.
    ///
    /// In `f` the [current](super::current) context is this one [without its cancellation](Context::without_cancel).
    ///
    /// The function keeps the context alive until it is started or [stopped](AfterFunc::stop). If its runtime ends before the
    /// context does, it is dropped and does not run. To drop the handle changes nothing.
    ///
    /// # Panics
    /// If the context has a deadline, and there is neither a stack nor a thread for who waits for it.
    ///
    /// ```
    /// use fibers::context::Context;
    /// use fibers::{Cond, run};
    ///
    /// run(|| {
    ///     let (ctx, cancel) = Context::background().with_cancel();
    ///     let (closed, told) = (Cond::new(), Cond::new());
    ///     let tell = told.clone();
    ///     ctx.after_func(move || tell.signal());
    ///     let stopped = ctx.after_func(move || closed.signal());
    ///     assert!(stopped.stop()); // it will not run
    ///     cancel.cancel();
    ///     told.wait();
    ///     assert!(!stopped.stop());
    /// });
    /// ```
    #[track_caller]
    pub fn after_func(&self, f: impl FnOnce() + Send + 'static) -> AfterFunc {
        let values = self.without_cancel();
        let call = Arc::new(Call {
            stage: Mutex::new(Stage::Waiting(Box::new(move || values.enter(f)))),
            stopped: Arc::new(Event::new()),
            place: Place::here(),
            site: Location::caller(),
            token: self.token.clone(),
            link: AtomicUsize::new(usize::MAX),
        });
        if let Some(token) = &self.token {
            if token.deadline() != u64::MAX && token.error().is_none() {
                call.watch(self.clone());
            }
            token.call_at_end(&call);
        }
        AfterFunc(call)
    }
}

/// A function that was registered with [`Context::after_func`].
pub struct AfterFunc(Arc<Call>);

impl AfterFunc {
    /// Keeps the function from running. Says whether this call did that: `false` if the context had ended and the function was
    /// started, or if it was stopped before. Does not wait for the function to end.
    pub fn stop(&self) -> bool {
        let function = self.0.stop();
        function.is_some()
    }
}

impl fmt::Debug for AfterFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = matches!(*self.0.stage(), Stage::Waiting(_));
        f.debug_struct("AfterFunc").field("waiting", &waiting).finish()
    }
}

/// How far a function has come.
enum Stage {
    Waiting(Function),
    /// The context has ended: it is certain to run, unless its runtime ends first.
    Due(Function),
    Over,
}

/// One registered function.
pub(super) struct Call {
    stage: Mutex<Stage>,
    /// Ends the wait for the deadline.
    stopped: Arc<Event>,
    place: Place,
    site: &'static Location<'static>,
    /// While it waits, the token's list refers to it and it to the token: whoever ends that may come from above.
    token: Option<Arc<Token>>,
    /// Its place in that list.
    pub(super) link: AtomicUsize,
}

impl Call {
    fn stage(&self) -> std::sync::MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves a waiting function on; what it was is returned, and dropped by the caller, outside of the lock.
    fn stop(&self) -> Option<Function> {
        let mut stage = self.stage();
        let function = match mem::replace(&mut *stage, Stage::Over) {
            Stage::Waiting(function) => function,
            other => {
                *stage = other;
                return None;
            }
        };
        drop(stage);
        self.end_wait();
        Some(function)
    }

    fn end_wait(&self) {
        if let Some(token) = &self.token {
            token.forget(self);
        }
        self.stopped.set(sched::here());
    }

    /// The context has ended.
    pub(super) fn start(self: Arc<Self>) {
        let mut stage = self.stage();
        match mem::replace(&mut *stage, Stage::Over) {
            Stage::Waiting(function) => *stage = Stage::Due(function),
            other => {
                *stage = other;
                return;
            }
        }
        drop(stage);
        let call = self.clone();
        let started = self.place.start(self.site, move || call.run());
        // Nothing can be started any more: better here than never. Or the runtime has ended, and the function is dropped here. The
        // hook has reported a panic, and the other functions have their turn all the same.
        let _ = catch_unwind(AssertUnwindSafe(move || match started {
            Ok(()) => drop(self),
            Err(_) => self.run(),
        }));
    }

    fn run(&self) {
        let stage = mem::replace(&mut *self.stage(), Stage::Over);
        if let Stage::Due(function) = stage {
            function();
        }
    }

    /// Has somebody wait for the deadline of `context`.
    fn watch(&self, context: Context) {
        let stopped = event_op(self.stopped.clone(), "stop of an `after_func`");
        let watched = self.place.start(self.site, move || {
            context.done_op().wrap(drop).or(stopped).perform();
        });
        if let Err(error) = watched {
            panic!("after_func: nobody can wait for the deadline: {error}");
        }
    }
}

/// Where functions are run.
enum Place {
    Runtime(Handle),
    Thread,
}

impl Place {
    fn here() -> Place {
        Handle::try_current().map_or(Place::Thread, Place::Runtime)
    }

    fn start(&self, site: &'static Location<'static>, f: impl FnOnce() + Send + 'static) -> io::Result<()> {
        match self {
            Place::Runtime(runtime) => Builder::new().spawn_on_from(site, runtime, f).map(drop),
            Place::Thread => sys::spawn_thread("fibers-context".into(), f).map(drop),
        }
    }
}
