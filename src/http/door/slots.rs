//! The connections that are open, what each of them does, and which one goes when there is no room.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::{clock, limits};

/// Connections at the same time, where descriptors are not the bound.
const CONNECTIONS_MAX: usize = 1_024;
/// Those of one address; loopback, where a proxy is, may have all.
const CONNECTIONS_EACH_MAX: usize = 256;
/// Of all descriptors, connections may have a quarter: the rest is for the store and the sinks.
const DESCRIPTORS_PER_CONNECTION: usize = 4;
/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection stays that asks nothing.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a client may read an answer before it can lose its place to another.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// How often the time is looked at.
const TICK: Duration = Duration::from_secs(1);

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Phase {
    /// A request is due, or the rest of its head.
    Head,
    /// The body of a request is received.
    Body,
    /// A request is answered.
    Work,
    /// The answer is written.
    Answer,
    /// Nothing, since the last answer.
    Idle,
    /// It is a WebSocket, for good.
    Socket,
}

/// One connection.
pub(in crate::http) struct Slot {
    peer: IpAddr,
    state: Mutex<(Phase, Instant)>,
    closing: Notify,
}

/// All connections.
pub(super) struct Slots {
    max: usize,
    open: Mutex<BTreeMap<u64, Arc<Slot>>>,
    /// Sockets that are not closed yet, those among them that lost their place.
    alive: AtomicUsize,
    count: AtomicUsize,
}

/// The right to be open, until it is dropped.
pub(super) struct Ticket {
    id: u64,
    slots: Arc<Slots>,
    pub(super) slot: Arc<Slot>,
}

/// Connections that may be open at the same time.
pub(in crate::http) fn connections_max() -> usize {
    CONNECTIONS_MAX.min(limits::descriptors() / DESCRIPTORS_PER_CONNECTION).max(1)
}

impl Slot {
    fn new(peer: IpAddr) -> Slot {
        let state = Mutex::new((Phase::Head, clock::now()));
        Slot { peer, state, closing: Notify::new() }
    }

    fn state(&self) -> (Phase, Instant) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It does something else from now on.
    pub(in crate::http) fn enter(&self, phase: Phase) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 != Phase::Socket {
            *state = (phase, clock::now());
        }
    }

    /// It does something else from now on, if it did this so far.
    pub(super) fn leave(&self, from: Phase, to: Phase) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 == from {
            *state = (to, clock::now());
        }
    }

    /// Returns when it has taken too long, or has to make room.
    pub(super) async fn overdue(&self) {
        loop {
            let (phase, since) = self.state();
            let most = match phase {
                Phase::Head => HEAD_TIMEOUT,
                Phase::Idle => IDLE_TIMEOUT,
                Phase::Body | Phase::Work | Phase::Answer | Phase::Socket => Duration::MAX,
            };
            let left = most.saturating_sub(since.elapsed());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = self.closing.notified() => return,
                () = tokio::time::sleep(left.min(TICK)) => {}
            }
        }
    }

    /// Since when it has kept its place without anybody at work for it; `None` where it may stay.
    fn waits_since(&self) -> Option<Instant> {
        let (phase, since) = self.state();
        match phase {
            Phase::Head | Phase::Idle | Phase::Body => Some(since),
            Phase::Answer => Some(since).filter(|since| since.elapsed() > ANSWER_PATIENCE),
            Phase::Work | Phase::Socket => None,
        }
    }
}

impl Slots {
    /// For so many.
    pub(super) fn new(max: usize) -> Arc<Slots> {
        let (alive, count) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Slots { max, open: Mutex::default(), alive, count })
    }

    /// Sockets that are open, with those that are about to be closed.
    pub(super) fn alive(&self) -> usize {
        self.alive.load(Ordering::Relaxed)
    }

    /// Lets a connection in; where there is no room, instead of the one that has kept its place the
    /// longest while nobody worked for it. `None` where all are at work.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Ticket> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let each = if peer.is_loopback() { self.max } else { CONNECTIONS_EACH_MAX.min(self.max) };
        let is_theirs = |slot: &Slot| slot.peer == peer;
        let has_enough = open.values().filter(|slot| is_theirs(slot)).count() >= each;
        if has_enough || open.len() >= self.max {
            let others = open.iter().filter(|(_, slot)| !has_enough || is_theirs(slot));
            let waiting = others.filter_map(|(id, slot)| Some((slot.waits_since()?, *id)));
            let (_, longest) = waiting.min()?;
            open.remove(&longest)?.closing.notify_one();
        }
        let slot = Arc::new(Slot::new(peer));
        let id = self.count.fetch_add(1, Ordering::Relaxed) as u64;
        open.insert(id, slot.clone());
        self.alive.fetch_add(1, Ordering::Relaxed);
        Some(Ticket { id, slots: self.clone(), slot })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.slots.alive.fetch_sub(1, Ordering::Relaxed);
        let mut open = self.slots.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_the_longest_makes_room_and_who_is_at_work_stays() {
        let slots = Slots::new(3);
        let local = IpAddr::from([127, 0, 0, 1]);
        let tickets: Vec<Ticket> = (0..3).map(|_| slots.admit(local).unwrap()).collect();
        tickets[0].slot.enter(Phase::Work);
        let fourth = slots.admit(local).unwrap();
        assert_eq!(slots.alive(), 4, "the second is told to close, and has not yet");
        assert!(!slots.open.lock().unwrap().contains_key(&tickets[1].id));
        for ticket in [&tickets[2], &fourth] {
            ticket.slot.enter(Phase::Socket);
            ticket.slot.enter(Phase::Idle);
        }
        assert!(slots.admit(local).is_none(), "sockets and work are not ended for a stranger");
        drop(tickets);
        assert!(slots.admit(local).is_some());
    }

    #[test]
    fn one_address_has_its_own_bound() {
        let slots = Slots::new(CONNECTIONS_EACH_MAX + 1);
        let remote = IpAddr::from([192, 0, 2, 1]);
        let mut tickets: Vec<Ticket> =
            (0..CONNECTIONS_EACH_MAX).map(|_| slots.admit(remote).unwrap()).collect();
        for ticket in &tickets {
            ticket.slot.enter(Phase::Work);
        }
        assert!(slots.admit(remote).is_none());
        tickets.push(slots.admit(IpAddr::from([192, 0, 2, 2])).unwrap());
        assert_eq!(slots.alive(), CONNECTIONS_EACH_MAX + 1);
    }
}
