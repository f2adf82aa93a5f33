//! HNSW (Malkov and Yashunin, 2016): built by the hnsw_rs crate, frozen into our own file, searched by our own
//! kernel.

mod build;
mod distinct;
mod frozen;
mod search;
mod visited;

pub use build::{BuildOptions, build_hnsw};
pub use frozen::HnswIndex;
