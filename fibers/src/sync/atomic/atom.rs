//! What a [`Waitable`](super::Waitable) can be made of: the standard library's atomics, all with `SeqCst`.

use crate::prim::Ordering::SeqCst;
use std::sync::atomic::{
    AtomicBool, AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64,
    AtomicUsize,
};

mod sealed {
    pub trait Sealed {}
}
use sealed::Sealed;

/// The atomic types of the standard library.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an atomic type",
    label = "not an atomic type",
    note = "write the atomic itself, as in `Waitable<AtomicU64>`; for other types, `fibers::sync::Watch` has a `wait_for`"
)]
pub trait Atom: Sealed {
    /// What it holds.
    type Value: Copy;
    #[doc(hidden)]
    fn with(value: Self::Value) -> Self;
    #[doc(hidden)]
    fn load(&self) -> Self::Value;
    #[doc(hidden)]
    fn store(&self, value: Self::Value);
    #[doc(hidden)]
    fn swap(&self, value: Self::Value) -> Self::Value;
    #[doc(hidden)]
    fn compare_exchange(&self, current: Self::Value, new: Self::Value) -> Result<Self::Value, Self::Value>;
}

/// Those that hold an integer.
pub trait Integer: Bits {
    #[doc(hidden)]
    fn fetch_add(&self, value: Self::Value) -> Self::Value;
    #[doc(hidden)]
    fn fetch_sub(&self, value: Self::Value) -> Self::Value;
    #[doc(hidden)]
    fn fetch_max(&self, value: Self::Value) -> Self::Value;
    #[doc(hidden)]
    fn fetch_min(&self, value: Self::Value) -> Self::Value;
}

/// Those that hold an integer or a `bool`.
pub trait Bits: Atom {
    #[doc(hidden)]
    fn fetch_and(&self, value: Self::Value) -> Self::Value;
    #[doc(hidden)]
    fn fetch_or(&self, value: Self::Value) -> Self::Value;
    #[doc(hidden)]
    fn fetch_xor(&self, value: Self::Value) -> Self::Value;
}

/// Methods that only add the ordering.
macro_rules! forward {
    ($Atomic:ty: $($method:ident)+) => {
        $(
            #[inline]
            fn $method(&self, value: Self::Value) -> Self::Value {
                <$Atomic>::$method(self, value, SeqCst)
            }
        )+
    };
}

macro_rules! atom {
    ($Atomic:ty, $Value:ty $(, $T:ident)?) => {
        impl$(<$T>)? Sealed for $Atomic {}

        impl$(<$T>)? Atom for $Atomic {
            type Value = $Value;

            fn with(value: $Value) -> Self {
                <$Atomic>::new(value)
            }

            #[inline]
            fn load(&self) -> $Value {
                <$Atomic>::load(self, SeqCst)
            }

            #[inline]
            fn store(&self, value: $Value) {
                <$Atomic>::store(self, value, SeqCst);
            }

            #[inline]
            fn compare_exchange(&self, current: $Value, new: $Value) -> Result<$Value, $Value> {
                <$Atomic>::compare_exchange(self, current, new, SeqCst, SeqCst)
            }

            forward!($Atomic: swap);
        }
    };
}

macro_rules! bits {
    ($($Atomic:ty: $Value:ty,)+) => {$(
        atom!($Atomic, $Value);

        impl Bits for $Atomic {
            forward!($Atomic: fetch_and fetch_or fetch_xor);
        }
    )+};
}

macro_rules! integers {
    ($($Atomic:ty: $Value:ty,)+) => {$(
        bits!($Atomic: $Value,);

        impl Integer for $Atomic {
            forward!($Atomic: fetch_add fetch_sub fetch_max fetch_min);
        }
    )+};
}

integers! {
    AtomicI8: i8,
    AtomicI16: i16,
    AtomicI32: i32,
    AtomicI64: i64,
    AtomicIsize: isize,
    AtomicU8: u8,
    AtomicU16: u16,
    AtomicU32: u32,
    AtomicU64: u64,
    AtomicUsize: usize,
}
bits! { AtomicBool: bool, }
atom!(AtomicPtr<T>, *mut T, T);

// So that the model checker follows the value itself.
#[cfg(loom)]
integers! { loom::sync::atomic::AtomicU32: u32, }
