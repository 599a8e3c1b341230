//! Whole routers, in virtual time. The names of the tests say which rule they hold it to.

mod mesh;
mod pair;
mod rig;
