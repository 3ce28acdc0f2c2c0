//! One turn: the runtime runs until no task is ready, and the bytes that it wrote leave.

use crate::engine::Engine;
use tokio::task::yield_now;

/// With less progress than this, no task can have used up tokio's budget of 128 operations, because a task
/// that loops reads, writes or reports an event at least once in eight operations.
const BUSY: usize = 16;

impl Engine {
    /// Runs `work`, and then tasks until none is ready.
    pub(super) fn turn(&mut self, work: impl FnOnce(&mut Self)) {
        let due = self.due();
        self.run(|engine| {
            work(engine);
            engine.read_first(&due);
        });
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

    /// Runs `work` inside the runtime, where spawning and waking cost no system call.
    fn run(&mut self, work: impl FnOnce(&mut Self)) {
        let (runtime, shared) = (self.runtime.clone(), self.shared.clone());
        runtime.block_on(async {
            work(self);
            loop {
                let before = shared.progress();
                // This returns when no other task is ready.
                yield_now().await;
                // tokio makes a task that did a lot yield like this one, and it is then ready again. If no
                // task can have used up its budget, no task is ready.
                if shared.progress() - before < BUSY {
                    break;
                }
            }
        });
    }
}
