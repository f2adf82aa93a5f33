//! Builds a graph with hnsw_rs and freezes it. None of that crate's traps is reachable from here: vectors are
//! finite, distances are never negative, M is bounded, links above a node's own layer are
//! cut, its dump and reload are not used, and a panic inside is caught.

use super::distinct::distinct;
use super::frozen::{Parts, encode};
use crate::distance::Kernel;
use crate::{Error, Result, Vectors};
use hnsw_rs::prelude::{Distance, Hnsw};
use mishards_types::Metric;
use std::panic::{AssertUnwindSafe, catch_unwind};

const MAX_LAYERS: usize = 16;

/// How to build.
#[derive(Debug, Clone, Copy)]
pub struct BuildOptions {
    /// Links per node (twice as many on the lowest layer), 2 to 128.
    pub m: usize,
    pub ef_construction: usize,
    /// Insert in row order on one thread, so that the same input gives the same graph.
    pub serial: bool,
}

impl Default for BuildOptions {
    fn default() -> BuildOptions {
        BuildOptions { m: 16, ef_construction: 200, serial: false }
    }
}

#[derive(Clone, Copy)]
struct SquaredL2(Kernel);

impl Distance<f32> for SquaredL2 {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        self.0.squared_l2(a, b)
    }
}

/// The inner product, as the search compares by, turned into a distance. For vectors of length 1 at most.
#[derive(Clone, Copy)]
struct OneMinusDot(Kernel);

impl Distance<f32> for OneMinusDot {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        (1.0 - self.0.dot(a, b)).max(0.0)
    }
}

/// Builds an HNSW file over all rows. Blocks for long: run it inside a pool of its own, whose threads it uses.
pub fn build_hnsw(vectors: Vectors<'_>, metric: Metric, options: BuildOptions) -> Result<Vec<u8>> {
    if vectors.data.iter().any(|x| !x.is_finite()) {
        return Err(Error::Build("a vector has a component that is not finite".to_owned()));
    }
    let m = options.m.clamp(2, 128);
    let groups = distinct(vectors);
    let points = embed(vectors, metric, &groups.representatives);
    let dim = points.len() / groups.representatives.len().max(1);
    let kernel = Kernel::best();
    let work = AssertUnwindSafe(|| match metric {
        Metric::Ip => links(OneMinusDot(kernel), &points, dim, m, options),
        _ => links(SquaredL2(kernel), &points, dim, m, options),
    });
    let links = catch_unwind(work).map_err(|_| Error::Build("the graph builder panicked".to_owned()))?;
    let norm = |row: &u32| kernel.inverse_norm(vectors.row(*row as usize));
    let inverse_norms = match metric {
        Metric::Cosine => groups.representatives.iter().map(norm).collect(),
        _ => Vec::new(),
    };
    Ok(encode(&Parts { metric, dim: vectors.dim, m, links, groups, inverse_norms }))
}

/// The nodes' vectors as they are linked: of unit length for COSINE, else scaled so that the longest has length 1, which
/// changes no order and lets no square overflow.
fn embed(vectors: Vectors<'_>, metric: Metric, rows: &[u32]) -> Vec<f32> {
    let norm = |row: &u32| {
        vectors.row(*row as usize).iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
    };
    let norms: Vec<f64> = rows.iter().map(norm).collect();
    let longest = norms.iter().copied().fold(0.0, f64::max);
    let mut out = Vec::with_capacity(rows.len() * vectors.dim);
    for (row, norm) in rows.iter().zip(&norms) {
        let divisor = if metric == Metric::Cosine { *norm } else { longest };
        let scale = if divisor > 0.0 { 1.0 / divisor } else { 0.0 };
        out.extend(vectors.row(*row as usize).iter().map(|x| (f64::from(*x) * scale) as f32));
    }
    out
}

/// For each node and each of its layers from 0 up, its links.
fn links<D: Distance<f32> + Send + Sync>(
    distance: D,
    points: &[f32],
    dim: usize,
    m: usize,
    options: BuildOptions,
) -> Vec<Vec<Vec<u32>>> {
    let count = points.len() / dim.max(1);
    let hnsw = Hnsw::<f32, D>::new(m, count.max(1), MAX_LAYERS, options.ef_construction.max(m), distance);
    let rows: Vec<(&[f32], usize)> = points.chunks_exact(dim.max(1)).zip(0..).collect();
    if options.serial {
        rows.iter().for_each(|row| hnsw.insert_slice(*row));
    } else {
        // The first points one by one: a parallel start makes a poor entry region.
        let (first, rest) = rows.split_at(rows.len().min(64));
        first.iter().for_each(|row| hnsw.insert_slice(*row));
        hnsw.parallel_insert_slice(&rest.to_vec());
    }
    let mut links = vec![Vec::new(); count];
    let graph = hnsw.get_point_indexation();
    for layer in 0..MAX_LAYERS {
        if graph.get_layer_nb_point(layer) == 0 {
            continue;
        }
        for point in graph.get_layer_iterator(layer) {
            let own = point.get_point_id().0 as usize;
            let mut layers = point.get_neighborhood_id();
            layers.truncate(own + 1);
            layers.resize(own + 1, Vec::new());
            links[point.get_origin_id()] =
                layers.iter().map(|l| l.iter().map(|n| n.d_id as u32).collect()).collect();
        }
    }
    cut_to_layers(&mut links);
    links
}

/// Drops links to nodes that do not live on the layer, to the node itself, and doubles.
fn cut_to_layers(links: &mut [Vec<Vec<u32>>]) {
    let tops: Vec<usize> = links.iter().map(Vec::len).collect();
    for (node, layers) in links.iter_mut().enumerate() {
        for (layer, list) in layers.iter_mut().enumerate() {
            let mut seen = std::collections::HashSet::new();
            list.retain(|n| {
                *n as usize != node
                    && tops.get(*n as usize).is_some_and(|top| layer < *top)
                    && seen.insert(*n)
            });
        }
    }
}
