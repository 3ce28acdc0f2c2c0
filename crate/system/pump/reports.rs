//! How whoever started transfers hears of them.

use super::{News, Report};
use crate::sync::lock;
use std::collections::HashSet;
use std::sync::Mutex;

/// What is to be said of transfers. Each end is reported once, whichever thread is first, and nothing after it.
pub(super) struct Reports(Mutex<State>);

struct State {
    live: HashSet<u64>,
    reports: Vec<Report>,
    /// None once nobody wants to hear.
    tell: Option<Box<dyn Fn() + Send>>,
}

impl Reports {
    pub(super) fn new(tell: Box<dyn Fn() + Send>) -> Self {
        let (live, reports) = (HashSet::new(), Vec::new());
        Self(Mutex::new(State { live, reports, tell: Some(tell) }))
    }

    /// Notes a transfer whose end will be reported.
    pub(super) fn expect(&self, transfer: u64) {
        lock(&self.0).live.insert(transfer);
    }

    /// Takes back [`Self::expect`]: the transfer could not be started.
    pub(super) fn forget(&self, transfer: u64) {
        lock(&self.0).live.remove(&transfer);
    }

    /// Reports that readers have taken what there was, unless the transfer has ended.
    pub(super) fn flushed(&self, transfer: u64) {
        let mut state = lock(&self.0);
        if state.live.contains(&transfer) {
            state.report(Report { transfer, news: News::Flushed });
        }
    }

    /// Reports that bytes were dropped, unless the transfer has ended.
    pub(super) fn dropped(&self, transfer: u64, errno: i32) {
        let mut state = lock(&self.0);
        if state.live.contains(&transfer) {
            state.report(Report { transfer, news: News::Dropped(errno) });
        }
    }

    /// Reports the end of a transfer, unless that has been done.
    pub(super) fn end(&self, transfer: u64, errno: i32) {
        let mut state = lock(&self.0);
        if state.live.remove(&transfer) {
            state.report(Report { transfer, news: News::Ended(errno) });
        }
    }

    /// The reports since the last call.
    pub(super) fn take(&self) -> Vec<Report> {
        std::mem::take(&mut lock(&self.0).reports)
    }

    /// Reports nothing from now on.
    pub(super) fn silence(&self) {
        lock(&self.0).tell = None;
    }
}

impl State {
    /// Under the lock: after `silence`, what it calls may be gone.
    fn report(&mut self, report: Report) {
        self.reports.push(report);
        if let Some(tell) = &self.tell {
            tell();
        }
    }
}
