//! Equal vectors share one node: real data has twins, and more of one than a node has links would cut the graph.

use crate::Vectors;
use mishards_types::checksum;
use std::collections::HashMap;

/// Which rows share a vector, bit for bit.
pub struct Distinct {
    /// The first row of each node.
    pub representatives: Vec<u32>,
    /// `rows[offsets[n]..offsets[n + 1]]` are the rows of node `n`, ascending.
    pub offsets: Vec<u32>,
    pub rows: Vec<u32>,
}

/// Groups the rows of `vectors`, nodes in the order of their first row.
pub fn distinct(vectors: Vectors<'_>) -> Distinct {
    let mut buckets: HashMap<u64, Vec<u32>> = HashMap::with_capacity(vectors.len());
    let mut node_of = Vec::with_capacity(vectors.len());
    let mut representatives: Vec<u32> = Vec::new();
    for row in 0..vectors.len() {
        let vector = bytemuck::cast_slice::<f32, u8>(vectors.row(row));
        let bucket = buckets.entry(checksum(vector)).or_default();
        let same = |n: &&u32| {
            bytemuck::cast_slice::<f32, u8>(vectors.row(representatives[**n as usize] as usize)) == vector
        };
        let node = match bucket.iter().find(same) {
            Some(node) => *node,
            None => {
                let node = representatives.len() as u32;
                representatives.push(row as u32);
                bucket.push(node);
                node
            }
        };
        node_of.push(node);
    }
    let mut offsets = vec![0u32; representatives.len() + 1];
    for node in &node_of {
        offsets[*node as usize + 1] += 1;
    }
    for n in 1..offsets.len() {
        offsets[n] += offsets[n - 1];
    }
    let mut next = offsets.clone();
    let mut rows = vec![0u32; node_of.len()];
    for (row, node) in node_of.iter().enumerate() {
        let slot = &mut next[*node as usize];
        rows[*slot as usize] = row as u32;
        *slot += 1;
    }
    Distinct { representatives, offsets, rows }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_share_a_node() {
        let data = [1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 0.0, 0.0, 1.0, 2.0];
        let d = distinct(Vectors { data: &data, dim: 2 });
        assert_eq!(d.representatives, [0, 1, 3]);
        assert_eq!(d.offsets, [0, 3, 4, 5]);
        assert_eq!(d.rows, [0, 2, 4, 1, 3]);
    }
}
