//! Fusing the results of several searches (hybrid search): reciprocal rank (Cormack et al., 2009) or weighted
//! scores. Pure.

use mishards_types::{Error, Metric, Result};
use std::f64::consts::PI;

/// How to fuse.
#[derive(Debug, Clone, PartialEq)]
pub enum Ranker {
    /// Sum of 1 / (k + rank), rank from 1.
    Rrf { k: f64 },
    /// Weighted sum of scores; normalised to 0..1 when asked, and always when directions differ.
    Weighted { weights: Vec<f64>, normalize: bool },
}

impl Ranker {
    /// Reads `strategy` and `params` of a request with `searches` sub-requests.
    pub fn parse(strategy: &str, params: &serde_json::Value, searches: usize) -> Result<Ranker> {
        match strategy.to_ascii_lowercase().as_str() {
            "" | "rrf" => {
                let k = params.get("k").map_or(Some(60.0), |v| v.as_f64());
                match k {
                    Some(k) if k > 0.0 && k < 16384.0 => Ok(Ranker::Rrf { k }),
                    _ => Err(Error::invalid("The rank params k should be in range (0, 16384)")),
                }
            }
            "weighted" => {
                let list = params
                    .get("weights")
                    .and_then(|v| v.as_array())
                    .ok_or_else(|| Error::invalid("weights not found in rank_params"))?;
                let weights: Vec<f64> = list.iter().filter_map(|v| v.as_f64()).collect();
                if weights.len() != list.len() || weights.iter().any(|w| !(0.0..=1.0).contains(w)) {
                    return Err(Error::invalid("rank param weight should be in range [0, 1]"));
                }
                if weights.len() != searches {
                    return Err(Error::invalid(format!(
                        "the length of weights param mismatch with ann search requests: expected {searches}, got {}",
                        weights.len()
                    )));
                }
                let normalize = params.get("norm_score").is_some_and(|v| {
                    v.as_bool().unwrap_or_else(|| v.as_str().is_some_and(|s| s.eq_ignore_ascii_case("true")))
                });
                Ok(Ranker::Weighted { weights, normalize })
            }
            other => Err(Error::invalid(format!("unsupported rank type {other}, supported: rrf, weighted"))),
        }
    }
}

fn normalized(metric: Metric, score: f64) -> f64 {
    match metric {
        Metric::Cosine => (1.0 + score) / 2.0,
        Metric::Ip => 0.5 + score.atan() / PI,
        Metric::L2 => 1.0 - 2.0 * score.atan() / PI,
    }
}

/// Fuses ranked lists of (row, score); rows are numbered by the caller, the same row has the same number. Returns
/// (row, fused score) in the fused order of scores; ties are the caller's. The flag says whether larger is better.
pub fn fuse(ranker: &Ranker, lists: &[(Metric, Vec<(usize, f32)>)]) -> (Vec<(usize, f32)>, bool) {
    let directions: Vec<bool> = lists.iter().map(|(m, _)| m.larger_is_nearer()).collect();
    let mixed = directions.iter().any(|d| *d) && directions.iter().any(|d| !*d);
    let mut fused: std::collections::BTreeMap<usize, f64> = std::collections::BTreeMap::new();
    for (i, (metric, list)) in lists.iter().enumerate() {
        for (rank, (row, score)) in list.iter().enumerate() {
            let score = f64::from(*score);
            let add = match ranker {
                Ranker::Rrf { k } => 1.0 / (k + rank as f64 + 1.0),
                Ranker::Weighted { weights, normalize } => {
                    let norm = *normalize || (mixed && *metric == Metric::L2);
                    weights[i] * if norm { normalized(*metric, score) } else { score }
                }
            };
            *fused.entry(*row).or_default() += add;
        }
    }
    let distances = matches!(ranker, Ranker::Weighted { normalize: false, .. })
        && !mixed
        && directions.iter().any(|d| !*d);
    (fused.into_iter().map(|(row, score)| (row, score as f32)).collect(), !distances)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reciprocal_rank() {
        let lists = [(Metric::L2, vec![(7, 0.1), (8, 0.2)]), (Metric::Ip, vec![(8, 9.0)])];
        let (fused, larger) = fuse(&Ranker::Rrf { k: 60.0 }, &lists);
        assert!(larger);
        assert_eq!(fused[0], (7, (1.0 / 61.0) as f32));
        assert_eq!(fused[1], (8, (1.0 / 62.0 + 1.0 / 61.0) as f32));
    }

    #[test]
    fn weights_and_norms() {
        let lists = [(Metric::Cosine, vec![(1, 0.5)]), (Metric::L2, vec![(1, 1.0)])];
        let (fused, larger) = fuse(&Ranker::Weighted { weights: vec![0.4, 0.6], normalize: true }, &lists);
        assert!(larger);
        assert!((f64::from(fused[0].1) - (0.4 * 0.75 + 0.6 * 0.5)).abs() < 1e-6);
        let only_l2 = [(Metric::L2, vec![(1, 2.0)])];
        assert_eq!(
            fuse(&Ranker::Weighted { weights: vec![1.0], normalize: false }, &only_l2),
            (vec![(1, 2.0)], false)
        );
    }

    #[test]
    fn bad_parameters_are_refused() {
        let json = |text: &str| serde_json::from_str(text).unwrap();
        assert!(Ranker::parse("rrf", &json(r#"{"k": 0}"#), 2).is_err());
        assert!(Ranker::parse("weighted", &json(r#"{"weights": [0.5]}"#), 2).is_err());
        assert!(Ranker::parse("weighted", &json(r#"{"weights": [0.5, 1.5]}"#), 2).is_err());
        assert!(Ranker::parse("best", &json("{}"), 2).is_err());
    }
}
