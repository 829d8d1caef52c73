//! Handing events to those who follow them, none of whom can hold up the daemon.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Bytes, HttpBody};
use hyper::body::Frame;
use ippriv::control::{Event, Stamped};
use tokio::sync::mpsc;

use crate::{clock, logging};

/// Lines that may wait for one reader. Who is further behind is cut off.
const WAITING: usize = 256;
/// Readers at a time.
const READERS: usize = 16;
/// Events kept for those who ask what has happened.
const KEPT: usize = 256;

/// Where events come in and are handed on.
#[derive(Clone, Default)]
pub struct Hub(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    sequence: u64,
    kept: VecDeque<Bytes>,
    readers: Vec<mpsc::Sender<Bytes>>,
}

impl Hub {
    /// Logs an event and hands it to all readers.
    pub(crate) fn publish(&self, event: Event) {
        logging::event(&event);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.sequence += 1;
        let stamped = Stamped { time: clock::time_of_day(), sequence: state.sequence, event };
        let line = line(&stamped);
        // A full queue is dropped with its sender, and that ends the reader's stream.
        state.readers.retain(|reader| reader.try_send(line.clone()).is_ok());
        if state.kept.len() == KEPT {
            state.kept.pop_front();
        }
        state.kept.push_back(line);
    }

    /// The latest events, a line each.
    pub(super) fn latest(&self) -> Vec<u8> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.kept.iter().flat_map(|line| line.iter().copied()).collect()
    }

    /// Events from now on, or `None` when there are too many readers.
    pub(crate) fn follow(&self) -> Option<Lines> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.readers.retain(|reader| !reader.is_closed());
        if state.readers.len() >= READERS {
            return None;
        }
        let (sender, receiver) = mpsc::channel(WAITING);
        state.readers.push(sender);
        Some(Lines { receiver, hub: self.clone(), last: state.sequence, ended: false })
    }

    /// Ends all streams: the daemon stops.
    pub(crate) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).readers.clear();
    }

    fn sequence(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sequence
    }
}

fn line(stamped: &Stamped) -> Bytes {
    let mut line = serde_json::to_vec(stamped).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

/// The body of an answer that goes on for as long as there are events.
pub(crate) struct Lines {
    receiver: mpsc::Receiver<Bytes>,
    hub: Hub,
    /// How many events there were when the last line was handed on.
    last: u64,
    ended: bool,
}

impl HttpBody for Lines {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.receiver.poll_recv(context).map(|received| {
            if let Some(line) = received {
                self.last += 1;
                return Some(Ok(Frame::data(line)));
            }
            // Cut off, or the daemon stops: the last line says what is missing.
            self.ended = true;
            let sequence = self.hub.sequence();
            let events = sequence.saturating_sub(self.last);
            let lost = Stamped { time: clock::time_of_day(), sequence, event: Event::Lost { events } };
            (events > 0).then(|| Ok(Frame::data(line(&lost))))
        })
    }
}

#[cfg(test)]
impl Lines {
    /// The next line.
    pub(crate) async fn next(&mut self) -> Option<String> {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *self).poll_frame(context)).await?;
        let line = frame.ok()?.into_data().ok()?;
        Some(String::from_utf8_lossy(&line).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u64) -> Event {
        Event::Lost { events: number }
    }

    async fn next(lines: &mut Lines) -> Option<Stamped> {
        lines.next().await.map(|line| serde_json::from_str(&line).unwrap())
    }

    #[tokio::test(flavor = "current_thread")]
    async fn readers_get_what_happens_from_now_on() {
        let hub = Hub::default();
        hub.publish(event(1));
        let mut lines = hub.follow().unwrap();
        hub.publish(event(2));
        let stamped = next(&mut lines).await.unwrap();
        assert_eq!((stamped.sequence, stamped.event), (2, event(2)));
        hub.close();
        assert_eq!(next(&mut lines).await, None);
        assert_eq!(hub.latest().iter().filter(|octet| **octet == b'\n').count(), 2);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_slow_reader_is_cut_off_and_told_what_is_missing() {
        let hub = Hub::default();
        let mut lines = hub.follow().unwrap();
        for number in 0..300 {
            hub.publish(event(number));
        }
        for number in 0..WAITING as u64 {
            assert_eq!(next(&mut lines).await.unwrap().event, event(number));
        }
        assert_eq!(next(&mut lines).await.unwrap().event, event(300 - WAITING as u64));
        assert_eq!(next(&mut lines).await, None);
    }

    #[test]
    fn readers_are_counted() {
        let hub = Hub::default();
        let readers: Vec<_> = (0..READERS).map(|_| hub.follow().unwrap()).collect();
        assert!(hub.follow().is_none());
        drop(readers);
        assert!(hub.follow().is_some());
    }

    #[test]
    fn the_past_is_bounded() {
        let hub = Hub::default();
        (0..1000).for_each(|number| hub.publish(event(number)));
        assert_eq!(hub.latest().iter().filter(|octet| **octet == b'\n').count(), KEPT);
    }
}
