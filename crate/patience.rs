//! Whether to try again what was in vain.

use crate::limits::RARELY;

/// Makes attempts rare while they are in vain: each makes it skip about twice as many of the next ones as the last, until one
/// in [`RARELY`] is made. One that pays brings them back, and half of them must pay for them to stay.
#[derive(Debug, Default)]
pub struct Patience {
    /// Attempts in vain, less those that paid.
    failures: u32,
    /// How many of the next ones to skip.
    skips: u32,
}

/// The number of failures that makes attempts as rare as they get.
const MOST: u32 = RARELY.ilog2();

/// The number of failures to begin with where it is doubtful that attempts pay.
const DOUBTS: u32 = MOST / 2;

impl Patience {
    /// Skips the first attempts, as if some had been made in vain.
    pub fn doubtful() -> Self {
        Self { failures: DOUBTS, skips: (1 << DOUBTS) - 1 }
    }

    /// Whether to make the attempt for which there is an occasion now.
    pub fn may_try(&mut self) -> bool {
        let may = self.skips == 0;
        self.skips = self.skips.saturating_sub(1);
        may
    }

    /// The attempt paid.
    pub fn paid(&mut self) {
        self.failures = self.failures.saturating_sub(1);
    }

    /// The attempt was in vain.
    pub fn failed(&mut self) {
        self.failures = (self.failures + 1).min(MOST);
        self.skips = (1 << self.failures) - 1;
    }

    /// The attempt did harm.
    pub fn harmed(&mut self) {
        self.failures = MOST;
        self.failed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Which of the next occasions are taken, if each attempt ends like that.
    fn taken(
        patience: &mut Patience,
        occasions: u32,
        mut pays: impl FnMut(u32) -> bool,
    ) -> Vec<u32> {
        let mut taken = Vec::new();
        for occasion in 1..=occasions {
            if patience.may_try() {
                taken.push(occasion);
                if pays(occasion) { patience.paid() } else { patience.failed() }
            }
        }
        taken
    }

    #[test]
    fn attempts_in_vain_become_rare_but_do_not_end() {
        let taken = taken(&mut Patience::default(), 10 * RARELY, |_| false);
        let between: Vec<_> = taken.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(between[..6], [2, 4, 8, 16, 32, 64]);
        assert!(between[5..].iter().all(|occasions| *occasions == RARELY), "{between:?}");
    }

    #[test]
    fn one_that_pays_brings_them_back() {
        let mut patience = Patience::default();
        taken(&mut patience, 10 * RARELY, |_| false);
        let again = taken(&mut patience, 2 * RARELY, |_| true);
        assert!(again.len() as u32 > RARELY, "{again:?}");
    }

    #[test]
    fn those_of_which_a_third_pays_become_rare_and_those_of_which_two_thirds_do_stay() {
        let occasions = 100 * RARELY;
        let mut random = Random(7);
        let mut third = || random.below(3) == 0;
        let few = taken(&mut Patience::default(), occasions, |_| third());
        assert!((few.len() as u32) < occasions / 10, "{}", few.len());
        let many = taken(&mut Patience::default(), occasions, |_| !third());
        assert!(many.len() as u32 > occasions / 3, "{}", many.len());
    }

    #[test]
    fn one_that_does_harm_is_not_made_again_for_long() {
        let mut patience = Patience::default();
        patience.harmed();
        assert_eq!(taken(&mut patience, RARELY, |_| true), [RARELY]);
    }
}
