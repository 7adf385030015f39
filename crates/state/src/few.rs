//! Shared values of which there is nearly always one: those that claim the same address or name.

use std::cmp::Ordering;
use std::sync::Arc;

/// At least one shared value, in order.
#[derive(Debug)]
pub(crate) enum Few<T> {
    One(Arc<T>),
    /// Two and more. The second indirection keeps the common case at 16 bytes.
    Many(Arc<Vec<Arc<T>>>),
}

impl<T> Few<T> {
    pub(crate) fn as_slice(&self) -> &[Arc<T>] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }

    /// These and `value`, after all that are not greater.
    pub(crate) fn with(&self, value: Arc<T>, order: impl Fn(&T, &T) -> Ordering) -> Self {
        let mut values = self.as_slice().to_vec();
        let at = values.partition_point(|other| order(other, &value).is_le());
        values.insert(at, value);
        Self::Many(Arc::new(values))
    }

    /// Those that `keep` wants, if any.
    pub(crate) fn only(&self, keep: impl Fn(&Arc<T>) -> bool) -> Option<Self> {
        let mut values: Vec<_> =
            self.as_slice().iter().filter(|value| keep(value)).cloned().collect();
        match values.len() {
            0 | 1 => values.pop().map(Self::One),
            _ => Some(Self::Many(Arc::new(values))),
        }
    }
}

impl<T> Clone for Few<T> {
    fn clone(&self) -> Self {
        match self {
            Self::One(value) => Self::One(value.clone()),
            Self::Many(values) => Self::Many(values.clone()),
        }
    }
}
