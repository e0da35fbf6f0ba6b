//! Descriptors that take a block over, and buddies that join, at every seam of
//! levels.

mod common;

use common::*;
use memdesc::Granule;
use potad_lookup::LookupError;

#[test]
fn a_replaced_descriptor_describes_nothing_and_is_replaced_once() {
    let ram = Ram::new();
    let tree = ram.tree();
    for order in [0, 3, 5, 6, 18, 24, 40] {
        let place = block(0, order);
        let old = tree.publish(place, ram.folio(1)).unwrap();
        old.lock().poison();
        let new = tree.replace(&old.lock(), ram.slab(2)).unwrap();
        assert_eq!(
            (new.block(), old.header().is_moved(), new.header().is_moved()),
            (place, true, false)
        );
        assert!(new.header().is_poisoned(), "the mark goes along");
        assert!(tree.get::<Folio>(place.last()).is_none());
        assert_eq!(tree.get::<Slab>(place.last()).unwrap().word(), new.word());
        let refused = tree.replace(&old.lock(), ram.slab(3)).unwrap_err();
        assert_eq!(refused.why, LookupError::WrongWord { asked: place });
        drop(old);
        assert!(ram.back().is_empty(), "it had no block to give back");
        drop(new);
        assert_eq!(ram.back(), [(place, true)]);
    }
    assert_eq!(tree.validate().unwrap().granules, 0);
}

#[test]
fn buddies_join_and_strangers_do_not() {
    let ram = Ram::new();
    let tree = ram.tree();
    for order in [0, 3, 5, 11, 17, 23, 29, 41] {
        let (low, high) = block(0, order + 1).halves().unwrap();
        let far = block(1 << 60, order);
        let [first, second] = [low, high].map(|half| tree.publish(half, ram.folio(1)).unwrap());
        let third = tree.publish(far, ram.slab(2)).unwrap();
        let strangers = LookupError::NotBuddies { asked: low, found: far };
        assert_eq!(tree.merge(&first.lock(), &third.lock()), Err(strangers));
        second.lock().poison();
        let whole = block(0, order + 1);
        assert_eq!(tree.merge(&first.lock(), &second.lock()), Ok(whole));
        assert_eq!((first.block(), second.header().is_moved()), (whole, true));
        assert!(first.header().is_poisoned());
        for at in [Granule(0), whole.last()] {
            assert_eq!(tree.get::<Folio>(at).unwrap().word(), first.word());
        }
        // What has gone joins nothing, and nothing joins it.
        let gone = tree.merge(&first.lock(), &second.lock()).unwrap_err();
        assert!(matches!(gone, LookupError::NotBuddies { .. } | LookupError::WrongWord { .. }));
        assert_eq!(tree.validate().unwrap().descriptors, 2);
        drop((second, first, third));
        assert_eq!(ram.back().len(), 2);
    }
    assert_eq!(tree.validate().unwrap().granules, 0);
}
