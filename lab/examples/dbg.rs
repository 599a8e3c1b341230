use molt_lab::sim::*; use molt_lab::topology::Topology; use std::time::Duration;
fn dump(sim:&Sim,n:usize){ let now=sim.now(); let o=sim.node(n).control.ospf(); println!("== node {n} at {now}");
 for x in o.neighbors(now){println!("  nbr {:?} {:?} {:?} up {:?} bfd {:?}",x.link,x.router_id,x.state,x.uptime,x.bfd_up);}
 for l in o.database(now).lsas{ println!("  {:?} {:?} seq {:x} age {} {:?}",l.link,l.header.key,l.header.seq,l.header.age(),l.body);}
 for r in o.spf_log().collect::<Vec<_>>().iter().rev().take(6){println!("  {:?}",r);} println!("  fib {:?} next {:?} counters {:?}",o.fib().routes(),o.poll_timeout(),o.counters()); }
fn main(){ let seed:u64=std::env::args().nth(1).unwrap().parse().unwrap();
 let topology = Topology::square();
        let costs = topology.links.iter().map(|link| if link.0 == 3 || link.1 == 3 { 20 } else { 10 }).collect();
        let mut sim = Sim::new(topology, Options { costs, ..Options::default() }, seed);
        sim.run_for(Duration::from_secs(20));
 println!("{:?}",sim.check_at_rest()); for n in 0..4{dump(&sim,n);} }
