use ippriv::node::{Input, Output};
use ippriv::time::Instant;

/// What decides. After each call that may change it, its outputs are taken until there are none.
pub trait Brain {
    /// The kernel holds what it wanted: it may begin.
    fn started(&mut self, now: Instant);

    /// Something happened.
    fn handle_input(&mut self, now: Instant, input: Input<'_>);

    /// The moment that [`poll_timeout`](Self::poll_timeout) named has come.
    fn handle_timeout(&mut self, now: Instant);

    /// When something is due next.
    fn poll_timeout(&self) -> Option<Instant>;

    /// What it wants next.
    fn poll_output(&mut self) -> Option<Output>;

    /// Everything is to be taken down: peers are told.
    fn flush(&mut self, now: Instant);

    /// Whether all that was to be said is said and answered.
    fn is_idle(&self) -> bool;
}

impl Brain for ippriv::node::Node {
    fn started(&mut self, now: Instant) {
        self.started(now);
    }

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        self.handle_input(now, input);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.poll_timeout()
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.poll_output()
    }

    fn flush(&mut self, now: Instant) {
        self.flush(now);
    }

    fn is_idle(&self) -> bool {
        self.is_idle()
    }
}
