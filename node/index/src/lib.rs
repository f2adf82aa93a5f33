//! Index algorithms over slices: distance kernels, exact scan, HNSW graph, inverted scalar index. No I/O:
//! files are bytes that the caller reads, verifies and maps. FORMAT.md describes them.

mod bytes_layout;
mod distance;
mod error;
mod flat;
mod graph;
mod inverted;
mod vector_index;

pub use distance::{Kernel, normalize};
pub use error::{Error, Result};
pub use flat::{Nearest, rows_at, scan};
pub use graph::{BuildOptions, HnswIndex, build_hnsw};
pub use inverted::{InvertedBuilder, InvertedIndex, Term};
pub use vector_index::{Bounds, Query, SearchParams, VectorIndex, Vectors};
