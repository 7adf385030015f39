//! Everything of a type as bytes that all streams share, so that a first synchronisation costs no copy for each.
//!
//! The bytes live as long as somebody sends them. After a change only the blocks that it touches are made anew, so that
//! many who connect while much changes do not hold many copies either.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use ambit_model::Str;
use ambit_xds::ResourceType;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::index::{Resource, Resources};

/// The size of a block, but for a resource that is larger by itself.
const BLOCK: usize = 64 * 1024;

/// Everything of a type.
#[derive(Debug)]
pub(crate) struct Whole {
    resources: Resources,
    blocks: Vec<Block>,
}

/// Resources one after the other: those behind the block before, up to and including `last`.
#[derive(Clone, Debug)]
struct Block {
    last: Str,
    wire: Bytes,
}

/// What is being sent now, by type. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wholes(Arc<Mutex<[Weak<Whole>; ResourceType::ALL.len()]>>);

// === impl Wholes ===

impl Wholes {
    /// All of `resources`.
    pub(crate) fn of(&self, kind: ResourceType, resources: &Resources) -> Arc<Whole> {
        let mut wholes = self.0.lock();
        let slot = &mut wholes[kind as usize];
        let whole = match slot.upgrade() {
            Some(whole) if whole.resources.is_same(resources) => return whole,
            Some(whole) => Arc::new(whole.renewed(resources)),
            None => Arc::new(Whole::new(resources)),
        };
        *slot = Arc::downgrade(&whole);
        whole
    }
}

// === impl Whole ===

impl Whole {
    fn new(resources: &Resources) -> Self {
        Self { resources: resources.clone(), blocks: cut(resources.iter()) }
    }

    /// The same of a later state.
    fn renewed(&self, resources: &Resources) -> Self {
        let Some(end) = self.blocks.len().checked_sub(1) else { return Self::new(resources) };
        let (changed, gone) = resources.since(&self.resources);
        let names = changed.iter().map(|resource| &resource.name).chain(&gone);
        // What comes behind the last block belongs to it.
        let block_of = |name: &Str| self.blocks.partition_point(|b| b.last < *name).min(end);
        let touched: BTreeSet<usize> = names.map(block_of).collect();
        let (mut blocks, mut after) = (Vec::with_capacity(self.blocks.len()), None);
        for (i, block) in self.blocks.iter().enumerate() {
            if touched.contains(&i) {
                let until = (i < end).then_some(&block.last);
                blocks.extend(cut(resources.between(after, until)));
            } else {
                blocks.push(block.clone());
            }
            after = Some(&block.last);
        }
        Self { resources: resources.clone(), blocks }
    }

    /// The bytes of all of it.
    pub(crate) fn len(&self) -> usize {
        self.blocks.iter().map(|block| block.wire.len()).sum()
    }

    /// One of the blocks, counted from 0.
    pub(crate) fn block(&self, number: usize) -> Option<Bytes> {
        self.blocks.get(number).map(|block| block.wire.clone())
    }
}

fn cut<'a>(resources: impl Iterator<Item = &'a Arc<Resource>>) -> Vec<Block> {
    let (mut blocks, mut wire) = (Vec::new(), BytesMut::new());
    let mut last: Option<&Str> = None;
    for resource in resources {
        if let Some(last) = last.filter(|_| wire.len() + resource.wire.len() > BLOCK) {
            blocks.push(Block { last: last.clone(), wire: wire.split().freeze() });
        }
        wire.extend_from_slice(&resource.wire);
        last = Some(&resource.name);
    }
    blocks.extend(last.map(|last| Block { last: last.clone(), wire: wire.freeze() }));
    blocks
}

#[cfg(test)]
mod tests {
    use ambit_model::Workload;
    use ambit_xds::encode::Encoded;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::index::Snapshot;

    fn resources(revisions: impl IntoIterator<Item = (u16, u8)>) -> Resources {
        let mut snapshot = Snapshot::default();
        for (name, revision) in revisions {
            let workload = Workload {
                uid: format!("{name:05}").into(),
                // Six of them fill a block.
                name: "x".repeat(10_000).into(),
                canonical_revision: revision.to_string().into(),
                ..Workload::default()
            };
            snapshot.add(Encoded::workload(&workload).into());
        }
        snapshot.addresses
    }

    fn bytes(whole: &Whole) -> Vec<u8> {
        whole.blocks.iter().flat_map(|block| block.wire.clone()).collect()
    }

    #[test]
    fn bytes_are_shared_while_somebody_sends_them() {
        let (wholes, kind) = (Wholes::default(), ResourceType::Address);
        let first = resources((0..40).map(|i| (i, 0)));
        let one = wholes.of(kind, &first);
        assert!(Arc::ptr_eq(&one, &wholes.of(kind, &first)));
        assert_eq!(one.blocks.len(), 7);
        assert!(one.blocks.iter().all(|block| block.wire.len() <= BLOCK));

        let second = resources((0..40).map(|i| (i, u8::from(i == 20))));
        let two = wholes.of(kind, &second);
        let same = |a: &Block, b: &Block| a.wire.as_ptr() == b.wire.as_ptr();
        let shared = one.blocks.iter().zip(&two.blocks).filter(|(a, b)| same(a, b)).count();
        assert_eq!((two.blocks.len(), shared), (7, 6));
        drop((one, two));
        assert!(wholes.0.lock()[kind as usize].upgrade().is_none());
        assert_eq!(wholes.of(ResourceType::Authorization, &Resources::default()).len(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_renewed_whole_has_the_bytes_of_a_new_one(
            states in vec(btree_map(0..30_u16, 0..3_u8, 0..30), 2..5)
        ) {
            let states: Vec<Resources> = states.into_iter().map(resources).collect();
            let mut whole = Whole::new(&states[0]);
            for state in &states[1..] {
                whole = whole.renewed(state);
                prop_assert_eq!(bytes(&whole), bytes(&Whole::new(state)));
                prop_assert_eq!(whole.len(), bytes(&whole).len());
            }
        }
    }
}
