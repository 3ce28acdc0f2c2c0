//! Numbers for tests that look random, and are the same in each run.

/// Xorshift. Each test adds what it draws.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `limit`, or 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit.max(1)
    }
}
