pub(crate) fn monotonic_ns() -> u64 {
    use std::time::*;
    static O: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    O.get_or_init(Instant::now).elapsed().as_nanos() as u64 + 1
}
