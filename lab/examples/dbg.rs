use molt_lab::sim::*; use molt_lab::topology::Topology; use std::time::Duration;
fn main(){ let seed:u64=std::env::args().nth(1).unwrap().parse().unwrap();
 let topology=Topology::random(10, 2 + (seed % 4) as usize, seed); let links=topology.links.clone();
    let mut rng = fastrand::Rng::with_seed(seed);
    let (nodes, edges) = (topology.nodes, topology.links.len());
    let mut sim = Sim::new(topology, Options::default(), seed);
    sim.set_weather(Weather::FOUL);
    let mut dead: Vec<usize> = Vec::new();
    let end = sim.now() + Duration::from_secs(60);
    let mut log=Vec::new();
    while sim.now() < end {
        sim.run_for(Duration::from_millis(rng.u64(10..5_000)));
        match rng.u8(..10) {
            0..4 => {let e=rng.usize(..edges); log.push(format!("{} cut {:?}",sim.now(),links[e])); sim.cut(e)},
            4..8 => {let e=rng.usize(..edges); log.push(format!("{} heal {:?}",sim.now(),links[e])); sim.heal(e)},
            8 => { let node = rng.usize(..nodes); if !dead.contains(&node) { log.push(format!("{} kill {:?}",sim.now(),node)); sim.kill(node); dead.push(node); } }
            _ => { if let Some(node) = dead.pop() { log.push(format!("{} restart {:?}",sim.now(),node));sim.restart(node); } }
        }
        for _ in 0..5 { let (from, to) = (rng.usize(..nodes), rng.usize(..nodes)); if from != to && !dead.contains(&from) { sim.send(from, to); } }
    }
    for n in dead { log.push(format!("{} restart {:?}",sim.now(),n)); sim.restart(n);} sim.heal_all(); sim.set_weather(Weather::FAIR);
    let want=std::env::args().nth(2).unwrap(); let (a,b)=want.split_once('-').unwrap(); let (a,b):(usize,usize)=(a.parse().unwrap(),b.parse().unwrap());
    for l in log { if l.contains(&format!("({a}, {b})"))||l.contains(&format!("({b}, {a})"))||l.ends_with(&format!(" {a}"))||l.ends_with(&format!(" {b}")){println!("{l}");} }
    let link=|n:usize,m:usize|{ let mut id=0; for (x,y) in &links{ if *x==n||*y==n {id+=1; if *x==m||*y==m {return id;}}} 0 };
    let mut last=vec![String::new();2]; let e2=sim.now()+Duration::from_secs(60);
    while sim.now()<e2 { sim.run_for(Duration::from_micros(500));
      for (i,(n,m)) in [(a,b),(b,a)].iter().enumerate(){ let l=link(*n,*m); let now=sim.now();
     let nb=sim.node(*n).control.ospf().neighbors(now).into_iter().find(|x|x.link.get()==l).map(|x|(x.state,x.bfd_up,x.requests));
     let s=sim.node(*n).data.snapshot(now); let bb=s.bfd.iter().find(|x|x.link.get()==l).map(|x|(x.state,x.remote_state,x.discriminator,x.remote_discriminator));
     let lk=s.links.iter().find(|x|x.link.get()==l).map(|x|x.up);
     let t=format!("{nb:?} bfd {bb:?} up {lk:?}"); if t!=last[i]{ println!("{now} node {n}: {t}"); last[i]=t; } } }
    println!("{:?}",links); println!("{:?}",sim.check_at_rest());
    let s=sim.node(a).data.snapshot(sim.now()); println!("{:?}",s.discards.iter().filter(|x|x.1>0).collect::<Vec<_>>());
    let s=sim.node(b).data.snapshot(sim.now()); println!("{:?}",s.discards.iter().filter(|x|x.1>0).collect::<Vec<_>>());
}
