//! A map with a limit: the entry that was used longest ago makes room.

use std::collections::HashMap;
use std::hash::Hash;

/// No neighbour.
const NONE: usize = usize::MAX;

struct Node<K, V> {
    key: K,
    value: V,
    newer: usize,
    older: usize,
}

/// A bounded map, evicting the least recently used entry. All operations take
/// constant time.
pub struct Lru<K, V> {
    index: HashMap<K, usize>,
    nodes: Vec<Node<K, V>>,
    newest: usize,
    oldest: usize,
    capacity: usize,
}

impl<K: Hash + Eq + Copy, V> Lru<K, V> {
    /// A map of at most `capacity` entries (at least one).
    pub fn new(capacity: usize) -> Self {
        Lru {
            index: HashMap::new(),
            nodes: Vec::new(),
            newest: NONE,
            oldest: NONE,
            capacity: capacity.max(1),
        }
    }

    /// Where an entry is. The newest is mostly asked for again, and costs no hash.
    fn find(&self, key: &K) -> Option<usize> {
        match self.nodes.get(self.newest) {
            Some(node) if node.key == *key => Some(self.newest),
            _ => self.index.get(key).copied(),
        }
    }

    /// Looks without touching.
    pub fn peek(&self, key: &K) -> Option<&V> {
        self.find(key).map(|i| &self.nodes[i].value)
    }

    /// Looks, and makes the entry the newest.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let i = self.find(key)?;
        self.touch(i);
        Some(&mut self.nodes[i].value)
    }

    /// Sets an entry and makes it the newest. Returns whether another had to go.
    pub fn insert(&mut self, key: K, value: V) -> bool {
        if let Some(known) = self.get_mut(&key) {
            *known = value;
            return false;
        }
        let full = self.nodes.len() >= self.capacity;
        let i = if full {
            let i = self.oldest;
            self.unlink(i);
            self.index.remove(&self.nodes[i].key);
            self.nodes[i] = Node { key, value, newer: NONE, older: NONE };
            i
        } else {
            self.nodes.push(Node { key, value, newer: NONE, older: NONE });
            self.nodes.len() - 1
        };
        self.index.insert(key, i);
        self.link(i);
        full
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        if self.nodes.is_empty() {
            return None;
        }
        let i = self.index.remove(key)?;
        self.unlink(i);
        let removed = self.nodes.swap_remove(i);
        if let Some(moved) = self.nodes.get(i) {
            let (newer, older) = (moved.newer, moved.older);
            self.index.insert(moved.key, i);
            self.relink(newer, older, i);
        }
        Some(removed.value)
    }

    /// The entry that was used longest ago, untouched.
    pub fn oldest(&self) -> Option<(&K, &V)> {
        self.nodes.get(self.oldest).map(|node| (&node.key, &node.value))
    }

    /// Takes out the entry that was used longest ago.
    pub fn pop_oldest(&mut self) -> Option<(K, V)> {
        let key = *self.oldest()?.0;
        Some((key, self.remove(&key)?))
    }

    /// Every entry, in no order, untouched.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.nodes.iter().map(|node| (&node.key, &node.value))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    fn touch(&mut self, i: usize) {
        if self.newest != i {
            self.unlink(i);
            self.link(i);
        }
    }

    fn unlink(&mut self, i: usize) {
        let (newer, older) = (self.nodes[i].newer, self.nodes[i].older);
        match newer {
            NONE => self.newest = older,
            n => self.nodes[n].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            o => self.nodes[o].newer = newer,
        }
    }

    /// Tells the neighbours of a node that moved where it is now.
    fn relink(&mut self, newer: usize, older: usize, i: usize) {
        match newer {
            NONE => self.newest = i,
            n => self.nodes[n].older = i,
        }
        match older {
            NONE => self.oldest = i,
            o => self.nodes[o].newer = i,
        }
    }

    fn link(&mut self, i: usize) {
        self.nodes[i].newer = NONE;
        self.nodes[i].older = self.newest;
        match self.newest {
            NONE => self.oldest = i,
            n => self.nodes[n].newer = i,
        }
        self.newest = i;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_unused_longest_makes_room() {
        let mut lru = Lru::new(2);
        assert!(!lru.insert(1, 'a'));
        assert!(!lru.insert(2, 'b'));
        lru.get_mut(&1);
        assert!(lru.insert(3, 'c'));
        assert_eq!((lru.peek(&1), lru.peek(&2), lru.peek(&3)), (Some(&'a'), None, Some(&'c')));
    }

    #[test]
    fn setting_again_evicts_nothing() {
        let mut lru = Lru::new(1);
        lru.insert(1, 'a');
        assert!(!lru.insert(1, 'b'));
        assert_eq!((lru.peek(&1), lru.len()), (Some(&'b'), 1));
    }

    #[test]
    fn it_behaves_like_a_slow_model() {
        let mut lru = Lru::new(5);
        let mut model: Vec<(u32, u32)> = Vec::new(); // newest last
        let mut seed = 1u32;
        for step in 0..5000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = (seed >> 16) % 9;
            let at = model.iter().position(|(k, _)| *k == key);
            if seed >> 31 == 0 {
                lru.insert(key, step);
                at.map(|i| model.remove(i));
                model.push((key, step));
                if model.len() > 5 {
                    model.remove(0);
                }
            } else {
                let want = at.map(|i| model.remove(i));
                assert_eq!(lru.get_mut(&key).copied(), want.map(|w| w.1));
                model.extend(want);
            }
            assert!(model.iter().all(|(k, v)| lru.peek(k) == Some(v)));
        }
    }
}
