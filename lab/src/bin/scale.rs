fn main() {
    use molt_lab::{
        sim::{Options, Sim},
        topology::Topology,
    };
    use std::time::{Duration, Instant};
    let n: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let d: usize = std::env::args().nth(2).unwrap().parse().unwrap();
    let t = Instant::now();
    let mut sim = Sim::new(Topology::random(n, d, 1), Options::default(), 1);
    println!("made {:?}", t.elapsed());
    for s in 0..10 {
        let t = Instant::now();
        sim.run_for(Duration::from_secs(2));
        println!("{} s: {:?} carried {:?}", s * 2 + 2, t.elapsed(), sim.carried());
    }
    let t = Instant::now();
    println!("{:?} {:?}", sim.check_at_rest().map_err(|e| e[..e.len().min(300)].to_string()), t.elapsed());
    let c: Vec<_> = sim.node(1).control.ospf().counters().rejected.clone().into_iter().collect();
    println!("{c:?} {:?}", sim.node(1).control.ospf().counters());
    println!(
        "{}",
        std::fs::read_to_string("/proc/self/status")
            .unwrap()
            .lines()
            .filter(|l| l.starts_with("VmHWM") || l.starts_with("VmRSS"))
            .collect::<Vec<_>>()
            .join(" ")
    );
}
