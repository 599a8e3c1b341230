use molt_lab::sim::*; use molt_lab::topology::Topology; use std::time::Duration;
fn main(){ let seed:u64=std::env::args().nth(1).unwrap().parse().unwrap();
 let topology = Topology::square();
        let costs = topology.links.iter().map(|link| if link.0 == 3 || link.1 == 3 { 20 } else { 10 }).collect();
        let mut sim = Sim::new(topology, Options { costs, ..Options::default() }, seed);
 let mut last=vec![String::new();2];
 while sim.now().since_start()<Duration::from_millis(12500){ sim.run_for(Duration::from_micros(200));
   for (i,n) in [1usize,2].iter().enumerate(){ let l=if *n==1 {2} else {1}; let now=sim.now(); 
     let nb=sim.node(*n).control.ospf().neighbors(now).into_iter().find(|x|x.link.get()==l).map(|x|(x.state,x.bfd_up));
     let s=sim.node(*n).data.snapshot(now); let b=s.bfd.iter().find(|x|x.link.get()==l).map(|x|(x.state,x.remote_state,x.discriminator,x.remote_discriminator));
     let lk=s.links.iter().find(|x|x.link.get()==l).map(|x|x.up);
     let d:Vec<_>=s.discards.iter().filter(|x|x.1>0).collect();
     let t=format!("{nb:?} bfd {b:?} up {lk:?} {d:?}"); if t!=last[i]{ println!("{now} node {n}: {t}"); last[i]=t; } } } }
