//! Deadlocks: when nothing in the process can ever wake the main fiber, say who waits for what.
//!
//! All workers are quiet, no alarm is set, no descriptor is watched, no blocking job is queued or runs, and no thread of
//! anybody else exists. Then each worker writes what its own fibers wait for on the board, the one that has noticed prints
//! it, and the main fiber panics, if the builder has not said otherwise.
#![expect(unsafe_code, reason = "fibers are handled through pointers")]

use std::fmt::{self, Write};
use std::ptr::NonNull;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::context::StackHeader;
use super::current::Wait;
use super::shared::{Remote, phase};
use super::task::{PARKED, TaskRef, flag};
use super::worker::Core;
use crate::prim::plain::{AtomicBool, AtomicU64, Ordering};
use crate::sys;

/// What happens when all fibers are asleep, and nothing can wake them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deadlock {
    /// Each fiber is reported on the standard error output with what it waits for; then the main fiber panics.
    #[default]
    Panic,
    /// Each fiber is reported; the runtime stays as it is.
    Report,
    /// Nothing is looked for.
    Ignore,
}

/// Where the workers describe their fibers.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// Number of the question; a worker answers each once.
    question: AtomicU64,
    /// It has been said in this run.
    reported: AtomicBool,
    /// The main fiber is to be told.
    verdict: AtomicBool,
    answers: Mutex<Answers>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct Answers {
    text: Vec<(usize, String)>,
}

impl Board {
    /// A new run: what was reported in the last one is forgotten.
    pub(super) fn reset(&self) {
        self.reported.store(false, Ordering::Relaxed);
        self.verdict.store(false, Ordering::Relaxed);
    }

    /// Whether the run has ended in a deadlock after its main fiber did.
    pub(super) fn has_verdict(&self) -> bool {
        self.verdict.load(Ordering::Relaxed)
    }

    pub(super) fn question(&self) -> u64 {
        self.question.load(Ordering::SeqCst)
    }

    fn put(&self, index: usize, text: String) {
        self.answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .text
            .push((index, text));
        self.answered.notify_all();
    }
}

impl Core {
    /// Whether another worker wants to know what the fibers here wait for.
    pub(super) fn board_asks(&self) -> bool {
        self.shared.board.question() != self.answered.get()
    }

    /// Answers another worker's question, and carries out its verdict. True if a fiber has been told something.
    pub(super) fn answer_board(&self) -> bool {
        let board = &self.shared.board;
        if self.board_asks() {
            self.answered.set(board.question());
            board.put(self.index, self.describe_fibers());
        }
        self.index == 0 && board.has_verdict() && self.tell_main()
    }

    /// Looks for a deadlock, from a worker that is about to sleep without a limit. True if there is something to run now.
    pub(super) fn detect_deadlock(&self) -> bool {
        let (shared, policy) = (&self.shared, self.shared.config.deadlock);
        let found = policy != Deadlock::Ignore
            && !shared.board.reported.load(Ordering::Relaxed)
            && shared.descriptors.load(Ordering::Relaxed) == 0
            && shared.if_quiet(|shared| !shared.expects() && !shared.has_foreign_threads()) == Some(true);
        if !found || shared.board.reported.swap(true, Ordering::Relaxed) {
            return false;
        }
        let report = self.collect();
        sys::write_stderr(format!("\ndeadlock: all fibers are asleep\n{report}").as_bytes());
        if policy == Deadlock::Report {
            return false;
        }
        shared.board.verdict.store(true, Ordering::SeqCst);
        if self.phase.get() == phase::DRAIN {
            shared.advance(phase::UNWIND);
            return true;
        }
        if self.index != 0 {
            shared.workers[0].wake();
            return false;
        }
        self.tell_main()
    }

    /// Asks everybody, and waits for the answers. All are idle, and answer as soon as they are awake.
    fn collect(&self) -> String {
        let board = &self.shared.board;
        board.answers.lock().unwrap_or_else(PoisonError::into_inner).text.clear();
        self.answered.set(board.question.fetch_add(1, Ordering::SeqCst) + 1);
        board.put(self.index, self.describe_fibers());
        self.shared.workers.iter().for_each(Remote::wake);
        let guard = board.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = |answers: &mut Answers| answers.text.len() < self.shared.workers.len();
        let waited = board.answered.wait_timeout_while(guard, Duration::from_secs(1), missing);
        let (mut answers, _) = waited.unwrap_or_else(PoisonError::into_inner);
        answers.text.sort();
        answers.text.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// Has the main fiber resumed, to panic. False if it does not wait.
    fn tell_main(&self) -> bool {
        let Some(main) = self.main.get() else {
            return false;
        };
        self.shared.board.verdict.store(false, Ordering::Relaxed);
        // A fiber that goes on after this may deadlock again.
        self.shared.board.reported.store(false, Ordering::Relaxed);
        // SAFETY: the main fiber has not ended.
        let task = unsafe { main.0.as_ref() };
        if task.link.load(Ordering::Relaxed) != PARKED || task.has(flag::OFFERED) {
            return false;
        }
        if task.has(flag::PANIC_COUNTED) {
            return self.unwind_the_others();
        }
        // SAFETY: it is started.
        let place = unsafe { &*task.stack.get() };
        if place.raises.get() >= super::shutdown::MAX_RAISES {
            sys::write_stderr(b"the main fiber keeps waiting after a deadlock: giving up\n");
            sys::abort();
        }
        self.doomed.set(Some(main));
        true
    }

    /// The main fiber waits in a destructor, where it cannot be raised into: the frame of a scope waits for its children that way.
    /// The others are unwound now, as they would be at its end.
    #[cold]
    fn unwind_the_others(&self) -> bool {
        if self.phase.get() == phase::UNWIND || self.shared.config.shutdown.first_phase() == phase::LEAVE {
            self.give_up_main();
        }
        self.shared.advance(phase::UNWIND);
        true
    }

    /// The others have been unwound before the end of the main fiber, and nobody will wake it. True if it has been told something.
    #[cold]
    pub(super) fn detect_deadlock_of_main(&self) -> bool {
        // SAFETY: the main fiber has not ended.
        let in_destructor = |main: TaskRef| unsafe { main.0.as_ref() }.has(flag::PANIC_COUNTED);
        if self.main.get().is_some_and(in_destructor) {
            // They have not let it go on.
            self.give_up_main();
        }
        // It has caught the panic of an earlier deadlock, and gone on.
        self.detect_deadlock()
    }

    /// The main fiber can neither go on nor be left.
    #[cold]
    fn give_up_main(&self) -> ! {
        sys::write_stderr(b"the main fiber waits in a destructor, and nobody will ever wake it: giving up\n");
        sys::abort();
    }

    /// One block for each fiber that is parked here.
    fn describe_fibers(&self) -> String {
        let mut text = String::new();
        for (_, place) in self.registry.borrow().iter() {
            // SAFETY: what is registered is in use.
            let _ = describe(unsafe { place.as_ref() }, &mut text);
        }
        if let Some(held) = self.held.get()
            && let Some(error) = self.shared.stacks.exhausted()
        {
            // SAFETY: a fiber that waits for its start is alive.
            let _ = writeln!(text, "  {}\n    a stack: {error}", unsafe { held.as_ref() });
        }
        text
    }
}

fn describe(place: &StackHeader, out: &mut String) -> fmt::Result {
    let Some(task) = place.task() else {
        return Ok(());
    };
    writeln!(out, "  {task}")?;
    if task.link.load(Ordering::Relaxed) == PARKED
        && let Some(wait) = NonNull::new(place.wait.get().cast_mut())
    {
        // SAFETY: a fiber that is in no queue is parked, and what it waits for is on its stack.
        let wait: &Wait<'_> = unsafe { wait.as_ref() };
        let report = Shown(wait).to_string();
        for line in report.lines() {
            writeln!(out, "    {line}")?;
        }
    }
    Ok(())
}

struct Shown<'a>(&'a Wait<'a>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.report.report(f)
    }
}
