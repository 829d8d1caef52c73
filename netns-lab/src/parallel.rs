//! Guests side by side: work on many things, some at a time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// How many cores there are: as many guests can run at a time, for each has one processor.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Works on `items`, `jobs` at a time, and hands over each result with the item's place as soon as it is there.
///
/// # Errors
/// The first of `over`; what is being worked on comes to its end then, and hardly anything is begun.
pub fn each<T: Sync, R: Send, E>(
    jobs: usize,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    mut over: impl FnMut(usize, R) -> Result<(), E>,
) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    let worker = |results: &mpsc::SyncSender<(usize, R)>| {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(place) else { return };
            if results.send((place, work(item))).is_err() {
                // Nobody waits for it: the others ended with an error.
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        // Results are taken one by one, so that little is begun before an error is seen.
        let (sender, results) = mpsc::sync_channel(0);
        for _ in 0..jobs.max(1).min(items.len()) {
            let (sender, worker) = (sender.clone(), &worker);
            scope.spawn(move || worker(&sender));
        }
        drop(sender);
        results.into_iter().try_for_each(|(place, result)| over(place, result))
    })
}

/// The same with the results in the order of their items, each as soon as those before it are there.
pub fn in_order<T: Sync, R: Send>(
    jobs: usize,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    mut over: impl FnMut(&T, R),
) {
    let mut early = BTreeMap::new();
    let mut next = 0;
    let result = each(jobs, items, work, |place, result| {
        early.insert(place, result);
        while let Some(result) = early.remove(&next) {
            over(&items[next], result);
            next += 1;
        }
        Ok::<(), Infallible>(())
    });
    match result {
        Ok(()) => {}
        Err(never) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn as_many_as_asked_for_work_at_a_time() {
        // Two have to meet each time.
        let both = Barrier::new(2);
        let mut sum = 0;
        let ended = each(
            2,
            &[1, 2, 3, 4],
            |item| (both.wait(), item * 10).1,
            |place, result| {
                sum += result + place;
                Ok::<(), ()>(())
            },
        );
        assert_eq!((ended, sum), (Ok(()), 106));
    }

    #[test]
    fn nothing_begins_after_an_error() {
        let begun = AtomicU32::new(0);
        let ended = each(1, &[(); 100], |()| begun.fetch_add(1, Ordering::Relaxed), |_, begun| Err(begun));
        assert_eq!(ended, Err(0));
        // The second may have been begun before the first was looked at.
        assert!(begun.into_inner() <= 2);
    }

    #[test]
    fn results_are_told_in_order() {
        // The first is done last.
        let (sender, waits) = mpsc::channel();
        let waits = std::sync::Mutex::new(waits);
        let sender = &sender;
        let work = |item: &u32| {
            if *item == 0 {
                waits.lock().unwrap().recv().unwrap();
            } else if *item == 3 {
                sender.send(()).unwrap();
            }
            *item
        };
        let mut told = Vec::new();
        in_order(2, &[0, 1, 2, 3], work, |item, result| told.push((*item, result)));
        assert_eq!(told, [(0, 0), (1, 1), (2, 2), (3, 3)]);
    }

    #[test]
    fn nothing_to_do_is_done() {
        assert_eq!(each(2, &[] as &[u32], |_| (), |_, ()| Err(())), Ok(()));
    }
}
