//! How the state keeps what it never forgets: one thing of a kind beside hundreds of thousands like it. Each lies by itself, no
//! longer than it is, since a map that grows at its end alone is half empty; and what many say alike is there once.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Iter};
use std::ops::{Index, RangeBounds};
use std::sync::Arc;

use crate::ids::{Name, Names};
use crate::requests::{Request, Services};

/// A map whose values lie by themselves. A copy of it shares them until one of both is changed.
#[derive(Debug, Clone)]
pub struct Kept<K, V>(BTreeMap<K, Arc<V>>);

type Both<'a, K, V> = fn((&'a K, &'a Arc<V>)) -> (&'a K, &'a V);

fn both<'a, K, V>((key, value): (&'a K, &'a Arc<V>)) -> (&'a K, &'a V) {
    (key, &**value)
}

impl<K: Ord, V> Kept<K, V> {
    /// What is kept under a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key).map(|value| &**value)
    }

    /// Whether something is kept under a key.
    pub fn contains_key(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    /// So many are kept.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in order.
    pub fn iter(&self) -> std::iter::Map<Iter<'_, K, Arc<V>>, Both<'_, K, V>> {
        self.0.iter().map(both as Both<'_, K, V>)
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.0.keys()
    }

    /// The values, in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.0.values().map(|value| &**value)
    }

    /// Those in this range, in order.
    pub fn range(&self, range: impl RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.0.range(range).map(both)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.0.insert(key, Arc::new(value));
    }
}

impl<K: Ord, V: Clone> Kept<K, V> {
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.0.get_mut(key).map(Arc::make_mut)
    }
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord, V> Extend<(K, V)> for Kept<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, more: I) {
        self.0.extend(more.into_iter().map(|(key, value)| (key, Arc::new(value))));
    }
}

impl<K: Ord, V> Index<&K> for Kept<K, V> {
    type Output = V;
    fn index(&self, key: &K) -> &V {
        &self.0[key]
    }
}

impl<'a, K: Ord, V> IntoIterator for &'a Kept<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = std::iter::Map<Iter<'a, K, Arc<V>>, Both<'a, K, V>>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Adds to a list that mostly stays at one.
pub(crate) fn push<T>(list: &mut Vec<T>, one: T) {
    if list.is_empty() {
        list.reserve_exact(1);
    }
    list.push(one);
}

/// What many requests and sessions say alike.
#[derive(Debug, Clone, Default)]
pub(crate) struct Alike {
    names: Names,
    services: BTreeSet<Services>,
}

impl Alike {
    /// The same name.
    pub(crate) fn name<N: Name>(&mut self, name: &N) -> N {
        self.names.once(name)
    }

    /// The same request.
    pub(crate) fn request(&mut self, request: &Request) -> Arc<Request> {
        let known = self.services.get(&request.services).cloned();
        let services = known.unwrap_or_else(|| {
            self.services.insert(request.services.clone());
            request.services.clone()
        });
        Arc::new(Request { target: self.name(&request.target), services, ..request.clone() })
    }
}
