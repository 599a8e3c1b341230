//! Whole routers, in virtual time. The names of the tests say which rule they hold it to.

mod adjacency;
mod flooding;
mod mesh;
mod pair;
mod rig;
mod vectors;
