//! Regions in which a fiber must not suspend, nor a thread block.
//!
//! A worker's word is enough for its fibers: the one that has entered a region is the only one that runs until it leaves. There are
//! two kinds. In the middle of a perform (*words*) suspending would break the protocol, so it is refused whatever happens. A region
//! of the user's refuses as well, but not in the middle of a panic: a second one, out of a destructor, would end the process. There
//! a suspension takes place, and the region with it: it holds for its own fiber again when that goes on.

use std::panic::Location;

use super::current::{Here, Report};
use super::outside;
use super::worker::{Core, unusual};
use std::fmt;

/// Why suspending is forbidden.
#[derive(Clone, Copy, Debug)]
pub(super) enum Forbidden {
    Words(&'static str),
    /// The user has said so here.
    Region(&'static Location<'static>),
}

impl Here {
    /// Makes every suspension panic with `why` until the guard is dropped.
    pub(crate) fn forbid_suspend(self, why: &'static str) -> Unsuspended {
        Unsuspended::new(self, Forbidden::Words(why))
    }
}

/// Makes every suspension of the fiber, or blocking of the thread, panic with the line of `region` until the guard is dropped.
pub(crate) fn forbid_in(here: Option<Here>, region: &'static Location<'static>) -> Unblocked {
    match here {
        Some(here) => Unblocked::Fiber {
            _guard: Unsuspended::new(here, Forbidden::Region(region)),
        },
        None => Unblocked::Thread {
            before: outside::replace_region(Some(region)),
        },
    }
}

/// Whether the caller is where suspending, or blocking, is forbidden.
#[inline(always)]
pub(crate) fn may_not_suspend(here: Option<Here>) -> bool {
    match here {
        Some(here) => here.core().unusual.get() & unusual::FORBIDDEN != 0,
        None => outside::region().is_some(),
    }
}

/// Whether a perform that begins is where suspending, or blocking, is forbidden. Where it is not, other fibers may have their turn
/// first.
#[inline(always)]
pub(crate) fn is_held_up(here: Option<Here>) -> bool {
    match here {
        Some(here) => here.spend() && here.held_up(),
        None => outside::region().is_some(),
    }
}

/// What a perform does there if it would have to wait. Returns if it may all the same.
///
/// # Panics
/// With the reason, unless the caller panics already and that permits it.
#[cold]
pub(crate) fn refuse_to_suspend(here: Option<Here>, waits_for: &dyn Report) {
    match (here, outside::region()) {
        (Some(here), _) => drop(here.core().refuse_or_allow(here.is_panicking(), waits_for)),
        (None, Some(region)) if !std::thread::panicking() => refuse(Forbidden::Region(region), "block", waits_for),
        (None, _) => {}
    }
}

/// # Panics
/// Always.
fn refuse(why: Forbidden, verb: &str, waits_for: &dyn Report) -> ! {
    match why {
        Forbidden::Words(why) => panic!("{why}"),
        Forbidden::Region(at) => {
            let what = Shown(waits_for).to_string();
            panic!("this would {verb} in the `no_suspend` region at {at}: {}", what.trim_end())
        }
    }
}

struct Shown<'a>(&'a dyn Report);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.report(f)
    }
}

impl Core {
    /// What the running fiber, `panicking` or not, does before it suspends: panics if that is forbidden, or else holds on to the
    /// result until it goes on.
    pub(super) fn refuse_or_allow(&self, panicking: bool, waits_for: &dyn Report) -> Option<Allowed<'_>> {
        let why = self.forbidden.get()?;
        match why {
            Forbidden::Region(_) if panicking => {
                self.set_forbidden(None);
                Some(Allowed(self, why))
            }
            _ => refuse(why, "suspend", waits_for),
        }
    }

    fn set_forbidden(&self, why: Option<Forbidden>) {
        self.forbidden.set(why);
        self.patience.set(0); // the next perform looks
        let others = self.unusual.get() & !unusual::FORBIDDEN;
        self.unusual.set(others | if why.is_some() { unusual::FORBIDDEN } else { 0 });
    }
}

/// A suspension inside a region. Its end is the end of the exception.
pub(super) struct Allowed<'a>(&'a Core, Forbidden);

impl Drop for Allowed<'_> {
    fn drop(&mut self) {
        self.0.set_forbidden(Some(self.1));
    }
}

/// While it lives, its fiber does not suspend.
#[must_use]
#[derive(Debug)]
pub(crate) struct Unsuspended {
    here: Here,
    before: Option<Forbidden>,
}

impl Unsuspended {
    fn new(here: Here, why: Forbidden) -> Unsuspended {
        let core = here.core();
        let before = core.forbidden.get();
        // What the protocol forbids stays forbidden in a region of the user's.
        if !matches!((before, why), (Some(Forbidden::Words(_)), Forbidden::Region(_))) {
            core.set_forbidden(Some(why));
        }
        Unsuspended { here, before }
    }
}

impl Drop for Unsuspended {
    fn drop(&mut self) {
        self.here.core().set_forbidden(self.before);
    }
}

/// The guard of a region.
#[must_use]
#[derive(Debug)]
pub(crate) enum Unblocked {
    Fiber { _guard: Unsuspended },
    Thread { before: Option<&'static Location<'static>> },
}

impl Drop for Unblocked {
    fn drop(&mut self) {
        if let Unblocked::Thread { before } = self {
            outside::replace_region(*before);
        }
    }
}
