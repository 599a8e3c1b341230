//! `cargo demo`: a mesh of five nodes on this machine, shown at work.
//!
//! ```text
//! n0 --- n1
//! |      |
//! n3 --- n2 --- n4
//! ```
//!
//! As root with `ip`, `nft` and `ping`: network namespaces, real TUN devices, the real binaries, the kernel's own `ping`.
//! Otherwise: the same scenario in the simulator, and it says so.

use std::io::{self, Write as _};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use molt_lab::mesh::Mesh;
use molt_lab::netns::Namespace;
use molt_lab::probe::Probe;
use molt_lab::sim::{Options, Sim};
use molt_lab::topology::Topology;
use molt_lab::wait::{now, wait_until};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where packets go from and to: the two nodes that are farthest apart.
const FROM: usize = 0;
const TO: usize = 4;

fn main() -> ExitCode {
    let shown = match missing() {
        None => in_namespaces(),
        Some(reason) => {
            say(&format!(
                "{reason}, so this runs in the simulator: the production node in virtual time, without encryption, TUN \
                 devices or the kernel. As root with iproute2, nftables and ping it is the real thing.\n"
            ))
            .and_then(|()| in_the_simulator())
        }
    };
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "demo: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn topology() -> Topology {
    Topology::new(5, [(0, 1), (1, 2), (2, 3), (0, 3), (2, 4)])
}

const PICTURE: &str = "    n0 --- n1\n    |      |\n    n3 --- n2 --- n4\n";

/// Why namespaces cannot be used, if so.
fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("You are not root".into());
    }
    let works = |program: &&str| {
        let mut command = Command::new(program);
        let quiet = command.arg("-V").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok()
    };
    let absent = ["ip", "nft", "ping"].into_iter().find(|program| !works(program))?;
    Some(format!("{absent} is not installed"))
}

fn say(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

fn in_namespaces() -> Result<()> {
    say(&format!(
        "Building meshd, then starting five of them, each in its own network namespace:\n\n{PICTURE}"
    ))?;
    let began = now();
    let mut mesh = Mesh::start(topology())?;
    let took = mesh.wait_full(PATIENCE)?;
    mesh.wait_reachable(PATIENCE)?;
    say(&format!(
        "All adjacencies are Full and watched by BFD {:.1} s after the last start; everybody reaches everybody after \
         {:.1} s in all, build included.\n",
        took.as_secs_f64(),
        began.elapsed().as_secs_f64()
    ))?;

    let target = mesh.nodes.get(TO).context("five nodes")?.address();
    let here = mesh.net.nodes.get(FROM).context("five nodes")?.clone();
    let target = target.to_string();
    show(&here, &["ping", "-c", "3", "-i", "0.3", &target])?;
    show_molt(&mut mesh, &["trace", "n4"])?;
    show_molt(&mut mesh, &["routes"])?;

    let probe = mesh.probe(FROM, TO)?;
    let link = link_in_use(&mesh, &probe)?;
    let (a, b) = mesh.net.topology.links.get(link).copied().context("a link of the topology")?;
    say(&format!(
        "Cutting the link between n{a} and n{b} while packets use it: from now on nothing arrives at either end, and no \
         end is told.\n"
    ))?;
    let mut ping = here.spawn("ping", &["ping", "-i", "0.01", "-c", "800", "-q", &target])?;
    let cable = mesh.net.links.get(link).context("a cable for each link")?;
    let outage = probe.outage(cable, PATIENCE)?;
    say(&format!(
        "The traffic moved to the other path. Longest silence of a 5 ms probe: {} ms. A `ping -i 0.01` through the cut:\n",
        outage.as_millis()
    ))?;
    ping.wait(PATIENCE)?;
    let summary = ping.log();
    say(&indent(summary.lines().find(|line| line.contains("packets transmitted")).unwrap_or(&summary)))?;
    show_molt(&mut mesh, &["trace", "n4"])?;
    show_molt(&mut mesh, &["ospf", "spf-log"])?;
    show_molt(&mut mesh, &["bfd"])?;

    say("Healing the link and leaving in good order.")?;
    mesh.net.links.get(link).context("a cable for each link")?.heal()?;
    mesh.wait_full(PATIENCE)?;
    for node in 0..mesh.nodes.len() {
        mesh.meshd_mut(node)?.terminate()?;
    }
    say(
        "Done; the namespaces are gone. What you saw is tested in lab/tests; `molt --help` lists what else there is.",
    )
}

/// The side of the square that the answers to the probe come in by.
fn link_in_use(mesh: &Mesh, probe: &Probe) -> Result<usize> {
    let sides = [mesh.net.link(0, 1)?, mesh.net.link(0, 3)?];
    let received = |side: usize| mesh.net.links.get(side).context("a cable for each link")?.received();
    let (found, _) = wait_until("the probe to settle on a path", PATIENCE, || {
        probe.reset();
        let before = [received(sides[0])?, received(sides[1])?];
        std::thread::sleep(Duration::from_millis(500));
        let carried = [received(sides[0])? - before[0], received(sides[1])? - before[1]];
        // 100 answers in half a second; BFD and Hellos are ten.
        let busy = sides.iter().zip(carried).find(|(_, packets)| *packets > 60);
        busy.map(|(side, _)| *side).with_context(|| format!("carried {carried:?}"))
    })?;
    Ok(found)
}

fn show(namespace: &Namespace, args: &[&str]) -> Result<()> {
    say(&format!("n{FROM} $ {}", args.join(" ")))?;
    let text = namespace.run(args)?;
    say(&indent(&text))
}

fn show_molt(mesh: &mut Mesh, args: &[&str]) -> Result<()> {
    say(&format!("n{FROM} $ molt {}", args.join(" ")))?;
    let output = mesh.meshd(FROM)?.molt_output(args)?;
    ensure!(output.status.success(), "molt {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    say(&indent(&String::from_utf8_lossy(&output.stdout)))
}

fn in_the_simulator() -> Result<()> {
    say(PICTURE)?;
    let mut sim = Sim::new(topology(), Options::default(), 1);
    let took = sim
        .run_until(PATIENCE, |sim| sim.check_at_rest().is_ok())
        .context("the mesh does not come to rest")?;
    say(&format!(
        "Every database and every forwarding table is right after {:.1} virtual s.",
        took.as_secs_f64()
    ))?;
    sim.run_for(Duration::from_secs(10));
    let (before, _) = sim.carried();
    let packet = sim.send(FROM, TO);
    sim.run_for(Duration::from_millis(20));
    ensure!(sim.arrived(packet), "a packet from n{FROM} to n{TO} was lost");
    say(&format!(
        "A packet from n{FROM} to n{TO} arrives ({} datagrams on all links meanwhile).",
        sim.carried().0 - before
    ))?;

    // Either side of the square may be in use; with both cut in turn, one of the two cuts hits.
    for (a, b) in [(0, 1), (0, 3)] {
        let edge = sim.edge(a, b).context("a side of the square")?;
        sim.cut(edge);
        let cut_at = sim.now();
        let mut silent_until = cut_at;
        while sim.now() - cut_at < Duration::from_secs(1) {
            let sent_at = sim.now();
            let packet = sim.send(FROM, TO);
            sim.run_for(Duration::from_millis(8));
            if !sim.arrived(packet) {
                silent_until = sent_at + Duration::from_millis(8);
            }
        }
        match (silent_until - cut_at).as_millis() {
            0 => say(&format!("Cut n{a}-n{b}: it was not on the path.")),
            outage => {
                say(&format!("Cut n{a}-n{b}: the traffic moved to the other path after {outage} virtual ms."))
            }
        }?;
        sim.heal(edge);
        sim.run_for(Duration::from_secs(30));
    }
    sim.check_at_rest().map_err(anyhow::Error::msg)?;
    say("Both links are healed, and everything is at rest again.")
}
