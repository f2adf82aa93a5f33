//! Similarity metrics and their direction.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// How two vectors are compared. Scores are what clients see: squared Euclidean distance for L2 (smaller is
/// nearer), the raw inner product for IP, the cosine in [-1, 1] for COSINE (both larger is nearer).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Metric {
    #[serde(rename = "L2")]
    L2,
    #[serde(rename = "IP")]
    Ip,
    #[serde(rename = "COSINE")]
    Cosine,
}

impl Metric {
    /// Reads a metric's name, in any case.
    pub fn parse(name: &str) -> Result<Metric> {
        match name.to_ascii_uppercase().as_str() {
            "L2" => Ok(Metric::L2),
            "IP" => Ok(Metric::Ip),
            "COSINE" => Ok(Metric::Cosine),
            _ => Err(Error::invalid(format!(
                "metric type {name} not found or not supported, supported: [L2 IP COSINE]"
            ))),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Metric::L2 => "L2",
            Metric::Ip => "IP",
            Metric::Cosine => "COSINE",
        }
    }

    /// Whether a larger score is nearer.
    pub fn larger_is_nearer(self) -> bool {
        !matches!(self, Metric::L2)
    }

    /// Orders scores from near to far.
    pub fn compare(self, a: f32, b: f32) -> Ordering {
        if self.larger_is_nearer() { b.total_cmp(&a) } else { a.total_cmp(&b) }
    }

    /// A score as a distance: smaller is nearer for every metric. Its own inverse up to sign.
    pub fn distance(self, score: f32) -> f32 {
        if self.larger_is_nearer() { -score } else { score }
    }
}
