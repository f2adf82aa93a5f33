//! A set of row numbers, one bit each.

/// A fixed-length bitmap. Bits past the length are always zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    len: usize,
}

impl Bitmap {
    /// `len` bits, all clear.
    pub fn zeros(len: usize) -> Bitmap {
        Bitmap { words: vec![0; len.div_ceil(64)], len }
    }

    /// `len` bits, all set.
    pub fn ones(len: usize) -> Bitmap {
        let mut out = Bitmap { words: vec![u64::MAX; len.div_ceil(64)], len };
        out.mask_tail();
        out
    }

    /// Sets bit `i` where `bit(i)` says so.
    pub fn from_fn(len: usize, mut bit: impl FnMut(usize) -> bool) -> Bitmap {
        let mut out = Bitmap::zeros(len);
        for (w, word) in out.words.iter_mut().enumerate() {
            let end = (w * 64 + 64).min(len);
            for i in w * 64..end {
                *word |= u64::from(bit(i)) << (i % 64);
            }
        }
        out
    }

    fn mask_tail(&mut self) {
        let used = self.len % 64;
        if used != 0
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << used) - 1;
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub fn get(&self, i: usize) -> bool {
        self.words[i / 64] >> (i % 64) & 1 == 1
    }

    #[inline]
    pub fn set(&mut self, i: usize) {
        debug_assert!(i < self.len);
        self.words[i / 64] |= 1 << (i % 64);
    }

    #[inline]
    pub fn clear(&mut self, i: usize) {
        self.words[i / 64] &= !(1 << (i % 64));
    }

    /// Number of set bits.
    pub fn count(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    pub fn and(&mut self, other: &Bitmap) {
        debug_assert_eq!(self.len, other.len);
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= b);
    }

    pub fn or(&mut self, other: &Bitmap) {
        debug_assert_eq!(self.len, other.len);
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a |= b);
    }

    /// Clears the bits that `other` has.
    pub fn and_not(&mut self, other: &Bitmap) {
        debug_assert_eq!(self.len, other.len);
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= !b);
    }

    pub fn not(&mut self) {
        self.words.iter_mut().for_each(|w| *w = !*w);
        self.mask_tail();
    }

    /// The set bits, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(w, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                if rest == 0 {
                    return None;
                }
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                Some(w * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_agree_with_a_vector_of_bools() {
        let len = 131;
        let a = Bitmap::from_fn(len, |i| i % 3 == 0);
        let b = Bitmap::from_fn(len, |i| i % 5 == 0);
        let check = |f: fn(&mut Bitmap, &Bitmap), expected: fn(usize) -> bool| {
            let mut out = a.clone();
            f(&mut out, &b);
            assert_eq!(out, Bitmap::from_fn(len, expected));
        };
        check(Bitmap::and, |i| i % 15 == 0);
        check(Bitmap::or, |i| i % 3 == 0 || i % 5 == 0);
        check(Bitmap::and_not, |i| i % 3 == 0 && i % 5 != 0);
        check(|x, _| x.not(), |i| i % 3 != 0);
        assert_eq!(Bitmap::ones(len).count(), len);
        assert_eq!(a.iter().collect::<Vec<_>>(), (0..len).step_by(3).collect::<Vec<_>>());
    }
}
