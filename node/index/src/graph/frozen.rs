//! The frozen graph: flat adjacency in a write-once file that can be mapped. FORMAT.md describes the bytes.

use super::distinct::Distinct;
use crate::bytes_layout::{Reader, Section, Writer};
use crate::{Error, Result};
use bytes::Bytes;
use mishards_types::Metric;

const MAGIC: [u8; 8] = *b"MSHHNSW\n";
const FORMAT: u32 = 1;
/// In `upper_at`, for nodes that live on the lowest layer only.
pub const NO_UPPER: u32 = u32::MAX;

/// What goes into a file.
pub struct Parts {
    pub metric: Metric,
    pub dim: usize,
    pub m: usize,
    pub links: Vec<Vec<Vec<u32>>>,
    pub groups: Distinct,
    pub inverse_norms: Vec<f32>,
}

/// Writes a graph. Lists have a fixed stride: the number of links, then the links, then zeros.
pub fn encode(parts: &Parts) -> Vec<u8> {
    let nodes = parts.links.len();
    let longest = |layer: fn(usize) -> bool| {
        let lists = parts
            .links
            .iter()
            .flat_map(|l| l.iter().enumerate().filter(|(i, _)| layer(*i)).map(|(_, x)| x.len()));
        lists.max().unwrap_or(0)
    };
    let (degree0, degree_up) = (longest(|l| l == 0), longest(|l| l > 0));
    let mut lowest = Vec::with_capacity(nodes * (degree0 + 1));
    let mut upper = Vec::new();
    let mut upper_at = vec![NO_UPPER; nodes];
    let mut levels = vec![0u8; nodes];
    let mut entry = 0;
    for (node, layers) in parts.links.iter().enumerate() {
        push_list(&mut lowest, layers.first().map_or(&[][..], |l| l), degree0);
        levels[node] = layers.len().saturating_sub(1) as u8;
        if levels[node] > levels[entry] {
            entry = node;
        }
        for (i, list) in layers.iter().enumerate().skip(1) {
            if i == 1 {
                upper_at[node] = (upper.len() / (degree_up + 1)) as u32;
            }
            push_list(&mut upper, list, degree_up);
        }
    }
    let metric = match parts.metric {
        Metric::L2 => 1,
        Metric::Ip => 2,
        Metric::Cosine => 3,
    };
    let rows = parts.groups.rows.len() as u32;
    let words = [
        metric,
        parts.dim as u32,
        parts.m as u32,
        rows,
        nodes as u32,
        entry as u32,
        degree0 as u32,
        degree_up as u32,
        0,
        0,
        0,
        0,
    ];
    Writer::new(MAGIC, FORMAT, words)
        .section(&levels)
        .section(&lowest)
        .section(&upper_at)
        .section(&upper)
        .section(&parts.groups.offsets)
        .section(&parts.groups.rows)
        .section(&parts.inverse_norms)
        .finish()
}

fn push_list(out: &mut Vec<u32>, list: &[u32], degree: usize) {
    out.push(list.len() as u32);
    out.extend_from_slice(list);
    out.resize(out.len() + degree - list.len(), 0);
}

/// A frozen graph over mapped bytes. Every number in it was checked when it was opened.
pub struct HnswIndex {
    pub(super) metric: Metric,
    pub(super) dim: usize,
    pub(super) entry: u32,
    rows: usize,
    degree0: usize,
    degree_up: usize,
    levels: Section<u8>,
    lowest: Section<u32>,
    upper_at: Section<u32>,
    upper: Section<u32>,
    offsets: Section<u32>,
    node_rows: Section<u32>,
    inverse_norms: Section<f32>,
}

impl HnswIndex {
    /// Opens a file. Bytes must be aligned to 64; their checksum is the caller's business.
    pub fn open(bytes: Bytes) -> Result<HnswIndex> {
        let reader = Reader::open(bytes, MAGIC, FORMAT)?;
        let [metric, dim, _m, rows, nodes, entry, degree0, degree_up, ..] = reader.words;
        let metric = match metric {
            1 => Metric::L2,
            2 => Metric::Ip,
            3 => Metric::Cosine,
            other => return Err(Error::Invalid(format!("metric {other}"))),
        };
        let (nodes, degree0, degree_up) = (nodes as usize, degree0 as usize, degree_up as usize);
        let too_big = || Error::Invalid("a size in the header is out of range".to_owned());
        let norms = if metric == Metric::Cosine { nodes } else { 0 };
        let index = HnswIndex {
            metric,
            dim: dim as usize,
            entry,
            rows: rows as usize,
            degree0,
            degree_up,
            levels: reader.section(0, Some(nodes))?,
            lowest: reader.section(1, Some(nodes.checked_mul(degree0 + 1).ok_or_else(too_big)?))?,
            upper_at: reader.section(2, Some(nodes))?,
            upper: reader.section(3, None)?,
            offsets: reader.section(4, Some(nodes + 1))?,
            node_rows: reader.section(5, Some(rows as usize))?,
            inverse_norms: reader.section(6, Some(norms))?,
        };
        index.check()?;
        Ok(index)
    }

    /// Every link and row must be in range: the kernel relies on it.
    fn check(&self) -> Result<()> {
        let bad = |what: &str| Err(Error::Invalid(what.to_owned()));
        let nodes = self.nodes();
        if nodes > 0 && self.entry as usize >= nodes {
            return bad("the entry node is out of range");
        }
        for (list, degree) in [(self.lowest.items(), self.degree0), (self.upper.items(), self.degree_up)] {
            if !list.len().is_multiple_of(degree + 1) {
                return bad("a link list is cut off");
            }
            for links in list.chunks_exact(degree + 1) {
                if links[0] as usize > degree || links[1..].iter().any(|n| *n as usize >= nodes.max(1)) {
                    return bad("a link is out of range");
                }
            }
        }
        let lists = self.upper.items().len() / (self.degree_up + 1);
        for (at, level) in self.upper_at.items().iter().zip(self.levels.items()) {
            let fine = (*level == 0 && *at == NO_UPPER)
                || (*level > 0 && (*at as usize).saturating_add(*level as usize) <= lists);
            if !fine {
                return bad("a node's upper layers are out of range");
            }
        }
        let offsets = self.offsets.items();
        let rising = offsets.windows(2).all(|w| w[0] < w[1]);
        if !rising || offsets.first() != Some(&0) || offsets.last() != Some(&(self.rows as u32)) {
            return bad("the rows of the nodes do not add up");
        }
        if self.node_rows.items().iter().any(|r| *r as usize >= self.rows) {
            return bad("a row is out of range");
        }
        Ok(())
    }

    pub fn metric(&self) -> Metric {
        self.metric
    }

    pub fn dim(&self) -> usize {
        self.dim
    }

    pub(super) fn nodes(&self) -> usize {
        self.levels.items().len()
    }

    pub(super) fn row_count(&self) -> usize {
        self.rows
    }

    #[inline]
    pub(super) fn level(&self, node: u32) -> usize {
        self.levels.items()[node as usize] as usize
    }

    /// Links of a node on the lowest layer.
    #[inline]
    pub(super) fn links0(&self, node: u32) -> &[u32] {
        let at = node as usize * (self.degree0 + 1);
        let list = &self.lowest.items()[at..at + self.degree0 + 1];
        &list[1..1 + list[0] as usize]
    }

    /// Links of a node on a layer from 1 up; none above its own.
    pub(super) fn links_up(&self, node: u32, layer: usize) -> &[u32] {
        if layer > self.level(node) {
            return &[];
        }
        let at = (self.upper_at.items()[node as usize] as usize + layer - 1) * (self.degree_up + 1);
        let list = &self.upper.items()[at..at + self.degree_up + 1];
        &list[1..1 + list[0] as usize]
    }

    /// The rows that share a node's vector, ascending; at least one.
    #[inline]
    pub(super) fn rows_of(&self, node: u32) -> &[u32] {
        let offsets = self.offsets.items();
        &self.node_rows.items()[offsets[node as usize] as usize..offsets[node as usize + 1] as usize]
    }

    #[inline]
    pub(super) fn inverse_norm(&self, node: u32) -> f32 {
        self.inverse_norms.items().get(node as usize).copied().unwrap_or(1.0)
    }
}
