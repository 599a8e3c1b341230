//! Where MoltNet is put to the test.
//!
//! | module | what |
//! |---|---|
//! | [`topology`] | line, ring, star, random: plain data, for namespaces and for the simulator |
//! | [`area`] | what the routers of an area say, without routers that say it |
//! | [`script`] | an OSPFv3 neighbour that follows a script |
//! | [`netns`] | network namespaces, virtual cables between them, silent cuts |
//! | [`process`] | children whose log is shown when a test fails and which never outlive it |
//! | [`stock`] | what others run: `wireguard-go`, FRR, BIRD, boringtun |
//! | [`sim`] | whole meshes of production nodes in virtual time |
//! | [`mesh`] | a topology of real routers: `meshd`, FRR, BIRD |
//! | [`tools`] | what people use: `ping`, `iperf3` |
//! | [`capture`] | packets as `tshark` reads them |
//! | [`probe`] | the longest silence between two namespaces |
//! | [`fuzz`] | what a peer, an operator or the host can send, thrown at the code that reads it |
//! | [`wait`] | waiting for a condition, with the reason when it does not come |
//! | [`mod@bench`] | throughput, CPU time and memory of one tunnel |
//!
//! Namespaces need root. A test without root or without a tool fails and says so: a skipped test proves nothing.
//! Everything a test creates carries the id of its process in its name, and the next run sweeps what a killed one left.
//!
//! Harness functions return errors; tests `unwrap` them, because a panic is what makes [`process`] print the logs.
#![forbid(unsafe_code)]

pub mod area;
pub mod bench;
pub mod capture;
pub mod fuzz;
pub mod mesh;
pub mod netns;
pub mod probe;
pub mod process;
pub mod relay;
pub mod script;
pub mod sim;
pub mod stock;
pub mod tools;
pub mod topology;
pub mod wait;
