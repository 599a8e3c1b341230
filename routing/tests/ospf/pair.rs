//! Two routers.

use std::time::Duration;

use crate::rig::{self, Net};
use molt_routing::ospf::State;

#[test]
fn an_adjacency_forms_and_routes_follow_within_a_tenth_of_a_second() {
    let mut net = Net::pair();
    let took = net.run_while(Duration::from_secs(5), |net| net.all_full());
    assert!(took < Duration::from_millis(50), "Full after {took:?}");
    net.run_for(Duration::from_secs(5));
    assert!(net.is_settled(), "{:#?}", net.fib(0));
    assert_eq!(net.state(0, rig::link(1)), State::Full);
}
