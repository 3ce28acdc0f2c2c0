//! One turn: the runtime runs until no task is ready, and what it wrote leaves.

use crate::engine::Engine;
use tokio::task::yield_now;

/// Below this much progress, no task can have used up tokio's budget of 128 operations: a task that loops
/// reads, writes or reports an event at least once in eight operations.
const BUSY: usize = 16;

impl Engine {
    /// Runs `work` and then every task until none can go on.
    pub(super) fn turn(&mut self, work: impl FnOnce(&mut Self)) {
        self.run(work);
        let runtime = self.runtime.clone();
        // Waiting calls start between two runs.
        let _inside = runtime.enter();
        while self.flush() | self.has_room() {
            self.run(Self::resume_waiting);
        }
        if self.shared.worklist.is_waited() {
            self.watch_contended();
        }
    }

    /// `work` runs inside the runtime, where spawning and waking cost no system call.
    fn run(&mut self, work: impl FnOnce(&mut Self)) {
        let (runtime, shared) = (self.runtime.clone(), self.shared.clone());
        runtime.block_on(async {
            work(self);
            loop {
                let before = shared.progress();
                // Goes on when no task is ready.
                yield_now().await;
                // A task that did a lot in one go is made to yield like this one, and is then ready
                // again. If none can have used up its budget, there is none.
                if shared.progress() - before < BUSY {
                    break;
                }
            }
        });
    }
}
