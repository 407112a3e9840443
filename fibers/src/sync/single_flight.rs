//! One execution for all who ask for the same thing at the same time.
//!
//! A call is in the table of its group from its beginning until it ends or is forgotten. Who comes meanwhile waits for its event
//! and clones the result. How a call ends is written once, by the destructor of [`Running`] at the latest, so it cannot be left
//! in the table by a panic, nor by a shutdown.

use crate::op::event::Event;
use crate::op::{BoxOp, Op, Receive, event_op};
use crate::sched;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Makes concurrent calls with one key share one execution, as Go's `singleflight.Group`. Clones are the same group.
///
/// ```
/// use fibers::{spawn, sync::SingleFlight};
/// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
/// static LOADS: AtomicU32 = AtomicU32::new(0);
/// fibers::run(|| {
///     let group = SingleFlight::new();
///     let load = |group: SingleFlight<&str, u32>| {
///         group.run("config", || {
///             LOADS.fetch_add(1, Relaxed);
///             fibers::sleep(std::time::Duration::from_millis(20));
///             42
///         })
///     };
///     let callers: Vec<_> = (0..10).map(|_| { let group = group.clone(); spawn(move || load(group)) }).collect();
///     assert!(callers.into_iter().all(|caller| caller.join().unwrap() == 42));
///     assert!(LOADS.load(Relaxed) < 10);
/// });
/// ```
///
/// It is no cache: the next call after the end of one executes again.
///
/// When the execution panics, all who wait for it panic as well, with the text of that panic; its own caller panics with the original
/// payload. When it is unwound by the end of its runtime, one of those who wait (on other runtimes, or threads) executes instead.
pub struct SingleFlight<K, V>(Arc<Mutex<Table<K, V>>>);

type Table<K, V> = HashMap<K, Arc<Call<V>>>;

/// One execution.
struct Call<V> {
    /// Set when `end` is there.
    over: Arc<Event>,
    end: OnceLock<End<V>>,
}

enum End<V> {
    Value(V),
    Panicked(String),
    /// By the end of a runtime: somebody else has to do it.
    Unwound,
}

impl<V> Call<V> {
    fn new() -> Self {
        Call {
            over: Arc::new(Event::new()),
            end: OnceLock::new(),
        }
    }

    fn finish(&self, end: End<V>) {
        let _ = self.end.set(end);
        self.over.set(sched::here());
    }
}

impl<K: Eq + Hash + Clone, V: Clone> SingleFlight<K, V> {
    /// A group with no call in it.
    pub fn new() -> Self {
        SingleFlight(Arc::default())
    }

    /// Runs `f` and returns its value; if a call with the same key is running, waits for that one instead, and returns a clone of
    /// its value.
    ///
    /// # Panics
    /// With the panic of `f`; if another caller's `f` panics, with its text.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, while somebody else executes. A call whose execution asks for its own key waits for
    /// itself, for ever.
    #[track_caller]
    pub fn run(&self, key: K, f: impl FnOnce() -> V) -> V {
        let running = loop {
            let call = match self.enter(&key) {
                Ok(running) => break running,
                Err(call) => call,
            };
            event_op(call.over.clone(), "single flight").perform();
            if let Some(value) = value_of(&call) {
                return value;
            }
        };
        running.execute(f)
    }

    /// The call that is running, or a new one that the caller executes.
    fn enter(&self, key: &K) -> Result<Running<K, V>, Arc<Call<V>>> {
        let (for_table, key) = (key.clone(), key.clone());
        let mut table = self.table();
        if let Some(call) = table.get(&key) {
            return Err(call.clone());
        }
        let call = Arc::new(Call::new());
        table.insert(for_table, call.clone());
        drop(table);
        Ok(Running {
            group: self.clone(),
            key,
            call,
        })
    }

    /// Starts `f` in a fiber of its own, unless a call with this key is running, and returns the call at once: to be waited for beside
    /// other things, as with Go's `DoChan`. Nobody has to wait: the call goes on to its end.
    ///
    /// ```
    /// use fibers::{Op, sync::SingleFlight};
    /// use std::time::Duration;
    /// fibers::run(|| {
    ///     let group = SingleFlight::new();
    ///     let flight = group.start("slow", || {
    ///         fibers::sleep(Duration::from_millis(5));
    ///         1
    ///     });
    ///     assert!(flight.wait_op().timeout(Duration::from_micros(10)).perform().is_err());
    ///     assert_eq!(group.run("slow", || 2), 1);
    ///     assert_eq!(flight.wait(), 1);
    /// });
    /// ```
    ///
    /// # Panics
    /// Outside of a runtime, and if the system has no memory for another fiber.
    #[track_caller]
    pub fn start(&self, key: K, f: impl FnOnce() -> V + Send + 'static) -> Flight<V>
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        match self.enter(&key) {
            Err(call) => Flight(call),
            Ok(running) => {
                let flight = Flight(running.call.clone());
                crate::fiber::spawn(move || drop(running.execute(f)));
                flight
            }
        }
    }

    /// Forgets the call with this key, if one is running: the next one does not wait for it but executes.
    pub fn forget(&self, key: &K) {
        let call = self.table().remove_entry(key);
        drop(call);
    }
}

impl<K, V> SingleFlight<K, V> {
    /// No code of users runs under it but `Hash` and `Eq` of the keys.
    fn table(&self) -> MutexGuard<'_, Table<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many calls are running.
    pub fn running(&self) -> usize {
        self.table().len()
    }
}

impl<K, V> Clone for SingleFlight<K, V> {
    fn clone(&self) -> Self {
        SingleFlight(self.0.clone())
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Default for SingleFlight<K, V> {
    fn default() -> Self {
        SingleFlight::new()
    }
}

impl<K, V> fmt::Debug for SingleFlight<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").field("running", &self.running()).finish()
    }
}

/// A call that was started; see [`SingleFlight::start`]. Clones are the same call.
///
/// `<-flight` waits for its value, as [`wait_op`](Flight::wait_op) does.
pub struct Flight<V>(Arc<Call<V>>);

impl<V: Clone> Flight<V> {
    /// Waits until the call has ended, and returns a clone of its value.
    ///
    /// # Panics
    /// If the call has panicked, with its text; if it was ended by a shutdown.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    #[track_caller]
    pub fn wait(&self) -> V {
        self.wait_op().perform()
    }

    /// The operation of [`Flight::wait`].
    pub fn wait_op(&self) -> impl Op<Output = V> + use<'_, V> {
        let value = |()| value_of(&self.0).unwrap_or_else(|| panic!("the call that was waited for was ended by a shutdown"));
        event_op(self.0.over.clone(), "single flight").wrap(value)
    }

    /// Whether the call has ended.
    pub fn is_over(&self) -> bool {
        self.0.over.is_set()
    }
}

impl<V> Clone for Flight<V> {
    fn clone(&self) -> Self {
        Flight(self.0.clone())
    }
}

impl<V> fmt::Debug for Flight<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").field("over", &self.0.over.is_set()).finish()
    }
}

impl<V: Clone> Receive for Flight<V> {
    type Output = V;
    type Op<'a>
        = BoxOp<'a, V>
    where
        Self: 'a;

    fn receive_op(&self) -> BoxOp<'_, V> {
        self.wait_op().boxed()
    }
}

/// A clone of the value; `None`: the caller has to see to it itself.
#[track_caller]
fn value_of<V: Clone>(call: &Call<V>) -> Option<V> {
    match call.end.get() {
        Some(End::Value(value)) => Some(value.clone()),
        Some(End::Panicked(text)) => panic!("the call that was waited for has panicked: {text}"),
        Some(End::Unwound) | None => None,
    }
}

/// A call that the holder executes. Dropped in whatever way, it is over.
struct Running<K: Eq + Hash, V> {
    group: SingleFlight<K, V>,
    key: K,
    call: Arc<Call<V>>,
}

impl<K: Eq + Hash + Clone, V: Clone> Running<K, V> {
    fn execute(self, f: impl FnOnce() -> V) -> V {
        match panic::catch_unwind(AssertUnwindSafe(f)) {
            Ok(value) => {
                self.call.finish(End::Value(value.clone()));
                value
            }
            Err(payload) => {
                if !sched::is_unwind(&*payload) {
                    self.call.finish(End::Panicked(text_of(&*payload)));
                }
                drop(self);
                if let Some(here) = sched::here() {
                    here.mark_panicking(); // no panic hook sees it again
                }
                panic::resume_unwind(payload)
            }
        }
    }
}

fn text_of(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("..").to_owned()
}

impl<K: Eq + Hash, V> Drop for Running<K, V> {
    fn drop(&mut self) {
        let mut table = self.group.table();
        // Another one may have taken its place after a `forget`.
        let own = table.get(&self.key).is_some_and(|call| Arc::ptr_eq(call, &self.call));
        let entry = if own { table.remove_entry(&self.key) } else { None };
        drop(table);
        self.call.finish(End::Unwound);
        drop(entry);
    }
}
