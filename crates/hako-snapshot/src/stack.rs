//! The layers of one image while they are unpacked in parallel: what a layer
//! needs to know of the layers below, and the waiting for it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use hako_spec::digest::Digest;

use crate::error::{Error, Result};
use crate::key::{LayerKey, chain_ids};

/// The layers of an image, the base first, shared by the threads that unpack
/// them (see [`crate::Snapshotter::unpack`]).
///
/// A layer that needs those below waits for them. To be free of deadlocks, give
/// the layers to the threads in rising order, and call [`Stack::abandon`] when
/// one of them will not be unpacked.
#[derive(Debug)]
pub struct Stack {
    diff_ids: Vec<Digest>,
    chain: Vec<Digest>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    keys: Vec<Option<LayerKey>>,
    /// Layers whose archive was found to need the layers below.
    needs_lower: Vec<bool>,
    abandoned: bool,
}

impl Stack {
    /// A stack of which nothing is unpacked yet.
    #[must_use]
    pub fn new(diff_ids: Vec<Digest>) -> Stack {
        let state = State {
            keys: vec![None; diff_ids.len()],
            needs_lower: vec![false; diff_ids.len()],
            abandoned: false,
        };
        let chain = chain_ids(&diff_ids);
        Stack {
            diff_ids,
            chain,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// The layers' diff ids, the base first.
    #[must_use]
    pub fn diff_ids(&self) -> &[Digest] {
        &self.diff_ids
    }

    /// The diff id and chain id of a layer.
    pub(crate) fn ids(&self, index: usize) -> Result<(&Digest, &Digest)> {
        match (self.diff_ids.get(index), self.chain.get(index)) {
            (Some(diff_id), Some(chain_id)) => Ok((diff_id, chain_id)),
            _ => Err(Error::LayerUnknown(format!("number {index}"))),
        }
    }

    /// Whether a layer was found to need those below.
    #[must_use]
    pub fn needs_lower(&self, index: usize) -> bool {
        self.lock().needs_lower.get(index).copied().unwrap_or(false)
    }

    pub(crate) fn set_needs_lower(&self, index: usize) {
        if let Some(flag) = self.lock().needs_lower.get_mut(index) {
            *flag = true;
        }
    }

    /// Notes that a layer is unpacked.
    pub(crate) fn done(&self, index: usize, key: LayerKey) {
        if let Some(slot) = self.lock().keys.get_mut(index) {
            *slot = Some(key);
        }
        self.changed.notify_all();
    }

    /// Gives up: whoever waits for a layer gets [`Error::Abandoned`].
    pub fn abandon(&self) {
        self.lock().abandoned = true;
        self.changed.notify_all();
    }

    /// The keys of all layers, once all are unpacked.
    #[must_use]
    pub fn keys(&self) -> Option<Vec<LayerKey>> {
        self.lock().keys.iter().cloned().collect()
    }

    /// Waits for the layers below `index`; their keys, the base first.
    pub(crate) fn below(&self, index: usize) -> Result<Vec<LayerKey>> {
        let mut state = self.lock();
        loop {
            let keys: Option<Vec<LayerKey>> = state.keys.iter().take(index).cloned().collect();
            if let Some(keys) = keys {
                return Ok(keys);
            }
            if state.abandoned {
                let diff_id = self.ids(index)?.0.clone();
                return Err(Error::Abandoned { diff_id });
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment, so a panic leaves whole values.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(n: u8) -> Vec<Digest> {
        (0..n).map(|i| Digest::from_sha256([i; 32])).collect()
    }

    #[test]
    fn a_layer_waits_for_those_below() {
        let stack = Stack::new(digests(3));
        let key = |i| LayerKey::alone(&stack.diff_ids()[i]);
        assert!(stack.below(0).unwrap().is_empty());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| stack.below(2).unwrap());
            stack.done(1, key(1));
            assert!(stack.keys().is_none());
            stack.done(0, key(0));
            assert_eq!(waiting.join().unwrap(), [key(0), key(1)]);
        });
        stack.done(2, key(2));
        assert_eq!(stack.keys().unwrap().len(), 3);
    }

    #[test]
    fn giving_up_wakes_who_waits() {
        let stack = Stack::new(digests(2));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| stack.below(1));
            stack.abandon();
            assert!(matches!(
                waiting.join().unwrap(),
                Err(Error::Abandoned { .. })
            ));
        });
    }
}
