//! The constants of a list, and what is made of them once for many look-ups.

use mishards_types::Value;
use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// Read as a slice of values.
#[derive(Clone, Default)]
pub struct Constants {
    values: Vec<Value>,
    made: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Constants {
    /// What `make` makes of the values: made by the first who asks, then shared, as long as all ask for the same type.
    pub fn made<T: Send + Sync + 'static>(&self, make: impl Fn(&[Value]) -> T) -> Arc<T> {
        let made = self.made.get_or_init(|| Arc::new(make(&self.values)));
        Arc::clone(made).downcast().unwrap_or_else(|_| Arc::new(make(&self.values)))
    }
}

impl From<Vec<Value>> for Constants {
    fn from(values: Vec<Value>) -> Constants {
        Constants { values, made: OnceLock::new() }
    }
}

impl Deref for Constants {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.values
    }
}

impl PartialEq for Constants {
    fn eq(&self, other: &Constants) -> bool {
        self.values == other.values
    }
}

impl fmt::Debug for Constants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.values.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn it_is_made_once_and_shared() {
        let constants = Constants::from(vec![Value::Int(3), Value::Int(4)]);
        let times = AtomicUsize::new(0);
        let sum = |values: &[Value]| {
            times.fetch_add(1, Ordering::Relaxed);
            values.len()
        };
        assert_eq!((*constants.made(sum), *constants.clone().made(sum)), (2, 2));
        assert_eq!(times.load(Ordering::Relaxed), 1);
        assert_eq!(*constants.made(|values: &[Value]| format!("{values:?}")), "[Int(3), Int(4)]");
        assert_eq!(constants, Constants::from(vec![Value::Int(3), Value::Int(4)]));
    }
}
