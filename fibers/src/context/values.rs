//! The values of a context: a list that grows at its head and is shared by all that were derived from it.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

/// Names a value of type `T` in a [`Context`](super::Context). A static: which one it is decides, not what it is called.
///
/// ```
/// use fibers::context::{Context, Key};
///
/// static USER: Key<String> = Key::new("user");
/// let ctx = Context::background().with_value(&USER, "gopher".to_string());
/// assert_eq!(ctx.value(&USER).unwrap(), "gopher");
/// ```
pub struct Key<T: 'static> {
    name: &'static str,
    /// So that a key is no constant, of which each use could be another one.
    _static: AtomicU8,
    _value: PhantomData<fn() -> T>,
}

impl<T: 'static> Key<T> {
    /// `name` appears in the `Debug` output of contexts, and has no other meaning.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Key {
            name,
            _static: AtomicU8::new(0),
            _value: PhantomData,
        }
    }

    fn address(&'static self) -> usize {
        ptr::from_ref(self).addr()
    }
}

impl<T: 'static> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.name).finish()
    }
}

/// One value, and those that were there before.
pub(super) struct Entry {
    key: usize,
    name: &'static str,
    value: Box<dyn Any + Send + Sync>,
    before: Option<Arc<Entry>>,
}

impl Entry {
    pub(super) fn new<T: Send + Sync>(key: &'static Key<T>, value: T, before: Option<Arc<Entry>>) -> Arc<Entry> {
        Arc::new(Entry {
            key: key.address(),
            name: key.name,
            value: Box::new(value),
            before,
        })
    }

    /// The newest value under this key.
    pub(super) fn find<T>(&self, key: &'static Key<T>) -> Option<&T> {
        let wanted = key.address();
        self.iter().find(|entry| entry.key == wanted)?.value.downcast_ref()
    }

    fn iter(&self) -> impl Iterator<Item = &Entry> {
        std::iter::successors(Some(self), |entry| entry.before.as_deref())
    }
}

impl Drop for Entry {
    /// However long the list is, without recursion.
    fn drop(&mut self) {
        let mut next = self.before.take();
        while let Some(mut entry) = next.and_then(Arc::into_inner) {
            next = entry.before.take();
        }
    }
}

/// The names, the newest first. What the values are is nobody's business.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|entry| entry.name)).finish()
    }
}
