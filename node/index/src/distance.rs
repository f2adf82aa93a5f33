//! Distance kernels: AVX2 with FMA where the processor has it, portable code elsewhere.

use std::sync::OnceLock;

type Pair = fn(&[f32], &[f32]) -> f32;

/// The kernels of this processor.
#[derive(Debug, Clone, Copy)]
pub struct Kernel {
    dot: Pair,
    squared_l2: Pair,
}

impl Kernel {
    /// The fastest kernels that this processor runs.
    pub fn best() -> Kernel {
        static BEST: OnceLock<Kernel> = OnceLock::new();
        *BEST.get_or_init(detect)
    }

    /// Portable kernels: the reference for the others.
    pub fn portable() -> Kernel {
        Kernel { dot: portable_dot, squared_l2: portable_l2 }
    }

    /// Inner product of two vectors of equal length.
    #[inline]
    pub fn dot(&self, a: &[f32], b: &[f32]) -> f32 {
        debug_assert_eq!(a.len(), b.len());
        (self.dot)(a, b)
    }

    /// Squared Euclidean distance of two vectors of equal length.
    #[inline]
    pub fn squared_l2(&self, a: &[f32], b: &[f32]) -> f32 {
        debug_assert_eq!(a.len(), b.len());
        (self.squared_l2)(a, b)
    }

    /// One over the Euclidean norm; 0 for the zero vector, whose cosine with anything is then 0.
    #[inline]
    pub fn inverse_norm(&self, a: &[f32]) -> f32 {
        let square = self.dot(a, a);
        if square.is_normal() { 1.0 / square.sqrt() } else { slow_inverse_norm(a) }
    }
}

/// For norms whose square leaves the range of f32. Capped, so that a product with 0 is no NaN.
#[cold]
fn slow_inverse_norm(a: &[f32]) -> f32 {
    let square: f64 = a.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    if square > 0.0 { (1.0 / square.sqrt()).min(f64::from(f32::MAX)) as f32 } else { 0.0 }
}

/// Scales a vector to length 1 (the zero vector stays).
pub fn normalize(a: &mut [f32]) {
    let inverse = Kernel::best().inverse_norm(a);
    a.iter_mut().for_each(|x| *x *= inverse);
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Kernel {
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        Kernel { dot: avx2::dot, squared_l2: avx2::l2 }
    } else {
        Kernel::portable()
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Kernel {
    Kernel::portable()
}

/// Eight independent sums, so that the compiler can use vector registers.
fn portable(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0.0f32; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let mut tail = 0.0;
    for (x, y) in a8.remainder().iter().zip(b8.remainder()) {
        tail += term(*x, *y);
    }
    for (x, y) in a8.zip(b8) {
        for lane in 0..8 {
            sums[lane] += term(x[lane], y[lane]);
        }
    }
    sums.iter().sum::<f32>() + tail
}

fn portable_dot(a: &[f32], b: &[f32]) -> f32 {
    portable(a, b, |x, y| x * y)
}

fn portable_l2(a: &[f32], b: &[f32]) -> f32 {
    portable(a, b, |x, y| (x - y) * (x - y))
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    pub fn dot(a: &[f32], b: &[f32]) -> f32 {
        // SAFETY: only reachable through `detect`, which found AVX2 and FMA.
        unsafe { dot_simd(a, b) }
    }

    pub fn l2(a: &[f32], b: &[f32]) -> f32 {
        // SAFETY: as above.
        unsafe { l2_simd(a, b) }
    }

    #[target_feature(enable = "avx2,fma")]
    fn sum(v: [__m256; 4]) -> f32 {
        let all = _mm256_add_ps(_mm256_add_ps(v[0], v[1]), _mm256_add_ps(v[2], v[3]));
        let half = _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps::<1>(all));
        let quarter = _mm_add_ps(half, _mm_movehl_ps(half, half));
        _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)))
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn dot_simd(a: &[f32], b: &[f32]) -> f32 {
        let n = a.len().min(b.len());
        let (pa, pb) = (a.as_ptr(), b.as_ptr());
        let mut acc = [_mm256_setzero_ps(); 4];
        let mut i = 0;
        while i + 32 <= n {
            for (lane, sum) in acc.iter_mut().enumerate() {
                // SAFETY: i + 32 <= n, so all eight floats of each lane are inside both slices.
                let (x, y) =
                    unsafe { (_mm256_loadu_ps(pa.add(i + lane * 8)), _mm256_loadu_ps(pb.add(i + lane * 8))) };
                *sum = _mm256_fmadd_ps(x, y, *sum);
            }
            i += 32;
        }
        while i + 8 <= n {
            // SAFETY: i + 8 <= n.
            let (x, y) = unsafe { (_mm256_loadu_ps(pa.add(i)), _mm256_loadu_ps(pb.add(i))) };
            acc[0] = _mm256_fmadd_ps(x, y, acc[0]);
            i += 8;
        }
        let tail: f32 = a[i..n].iter().zip(&b[i..n]).map(|(x, y)| x * y).sum();
        sum(acc) + tail
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn l2_simd(a: &[f32], b: &[f32]) -> f32 {
        let n = a.len().min(b.len());
        let (pa, pb) = (a.as_ptr(), b.as_ptr());
        let mut acc = [_mm256_setzero_ps(); 4];
        let mut i = 0;
        while i + 32 <= n {
            for (lane, sum) in acc.iter_mut().enumerate() {
                // SAFETY: i + 32 <= n, so all eight floats of each lane are inside both slices.
                let (x, y) =
                    unsafe { (_mm256_loadu_ps(pa.add(i + lane * 8)), _mm256_loadu_ps(pb.add(i + lane * 8))) };
                let d = _mm256_sub_ps(x, y);
                *sum = _mm256_fmadd_ps(d, d, *sum);
            }
            i += 32;
        }
        while i + 8 <= n {
            // SAFETY: i + 8 <= n.
            let (x, y) = unsafe { (_mm256_loadu_ps(pa.add(i)), _mm256_loadu_ps(pb.add(i))) };
            let d = _mm256_sub_ps(x, y);
            acc[0] = _mm256_fmadd_ps(d, d, acc[0]);
            i += 8;
        }
        let tail: f32 = a[i..n].iter().zip(&b[i..n]).map(|(x, y)| (x - y) * (x - y)).sum();
        sum(acc) + tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_kernels_agree_with_double_precision() {
        let mut state = 7u64;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        for n in [0, 1, 7, 8, 9, 31, 32, 33, 100, 384, 768] {
            let a: Vec<f32> = (0..n).map(|_| random()).collect();
            let b: Vec<f32> = (0..n).map(|_| random()).collect();
            let dot: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            let l2: f64 = a.iter().zip(&b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum();
            for kernel in [Kernel::best(), Kernel::portable()] {
                assert!((f64::from(kernel.dot(&a, &b)) - dot).abs() < 1e-4, "dot of {n}");
                assert!((f64::from(kernel.squared_l2(&a, &b)) - l2).abs() < 1e-4, "l2 of {n}");
            }
        }
    }

    #[test]
    fn norms_of_extreme_vectors_are_finite() {
        let kernel = Kernel::best();
        assert_eq!(kernel.inverse_norm(&[0.0, 0.0]), 0.0);
        assert!((kernel.inverse_norm(&[3e30, 4e30]) - 2e-31).abs() < 1e-36);
        assert!((kernel.inverse_norm(&[3e-30, 4e-30]) - 2e29).abs() < 1e24);
    }
}
