//! Whole routers, in virtual time. The names of the tests say which rule they hold it to.
#![expect(clippy::unwrap_used, reason = "a test that unwraps nothing has failed")]

mod adjacency;
mod aging;
mod attacks;
mod boundary;
mod degree;
mod flooding;
mod graceful;
mod mesh;
mod mismatches;
mod pair;
mod rig;
mod routes;
mod unproven;
mod vectors;
