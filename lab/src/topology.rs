//! Who is joined to whom.

use std::collections::BTreeSet;

/// Nodes `0..nodes` and the links between them, each once, smaller node first, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// How many nodes there are.
    pub nodes: usize,
    /// Pairs of nodes.
    pub links: Vec<(usize, usize)>,
}

impl Topology {
    /// From any list of pairs; loops and repetitions are dropped.
    #[must_use]
    pub fn new(nodes: usize, links: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let links: BTreeSet<_> =
            links.into_iter().filter(|(a, b)| a != b).map(|(a, b)| (a.min(b), a.max(b))).collect();
        Self { nodes, links: links.into_iter().collect() }
    }

    /// ```text
    /// 0 --- 1 --- 2 --- 3 --- 4
    /// ```
    #[must_use]
    pub fn line(nodes: usize) -> Self {
        Self::new(nodes, (1..nodes).map(|node| (node - 1, node)))
    }

    /// A line whose ends are joined.
    #[must_use]
    pub fn ring(nodes: usize) -> Self {
        Self::new(nodes, (0..nodes).map(|node| (node, (node + 1) % nodes)))
    }

    /// ```text
    /// 0 --- 1
    /// |     |
    /// 3 --- 2
    /// ```
    #[must_use]
    pub fn square() -> Self {
        Self::ring(4)
    }

    /// Each joined to each.
    #[must_use]
    pub fn full(nodes: usize) -> Self {
        Self::new(nodes, (0..nodes).flat_map(|a| (0..a).map(move |b| (a, b))))
    }

    /// Node 0 in the middle.
    #[must_use]
    pub fn star(nodes: usize) -> Self {
        Self::new(nodes, (1..nodes).map(|leaf| (0, leaf)))
    }

    /// A connected graph whose nodes have at most `degree` neighbours, and nearly all of them exactly that many: the
    /// union of `degree / 2` random cycles through all nodes, and for an odd degree a random pairing.
    #[must_use]
    pub fn random(nodes: usize, degree: usize, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut order: Vec<usize> = (0..nodes).collect();
        let mut links = Vec::new();
        for _ in 0..degree / 2 {
            rng.shuffle(&mut order);
            links.extend(order.iter().copied().zip(order.iter().copied().cycle().skip(1)));
        }
        if degree % 2 == 1 {
            rng.shuffle(&mut order);
            links.extend(order.as_chunks::<2>().0.iter().map(|[a, b]| (*a, *b)));
        }
        Self::new(nodes, links)
    }

    /// The neighbours of each node, ascending.
    #[must_use]
    pub fn neighbours(&self) -> Vec<Vec<usize>> {
        (0..self.nodes)
            .map(|node| {
                let far = |&(a, b): &(usize, usize)| match node {
                    _ if node == a => Some(b),
                    _ if node == b => Some(a),
                    _ => None,
                };
                self.links.iter().filter_map(far).collect()
            })
            .collect()
    }

    /// Whether every node reaches every other.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        let neighbours = self.neighbours();
        let mut reached = BTreeSet::from([0]);
        let mut edge = vec![0];
        while let Some(node) = edge.pop() {
            let new = neighbours.get(node).into_iter().flatten().filter(|next| reached.insert(**next));
            edge.extend(new.copied());
        }
        reached.len() >= self.nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_the_links_one_draws() {
        assert_eq!(Topology::line(3).links, [(0, 1), (1, 2)]);
        assert_eq!(Topology::square().links, [(0, 1), (0, 3), (1, 2), (2, 3)]);
        assert_eq!(Topology::star(4).links, [(0, 1), (0, 2), (0, 3)]);
        assert_eq!(Topology::ring(2).links, [(0, 1)]);
        assert_eq!(Topology::ring(1).links, []);
        assert_eq!(Topology::star(3).neighbours(), [vec![1, 2], vec![0], vec![0]]);
    }

    #[test]
    fn random_graphs_are_connected_bounded_and_the_same_for_the_same_seed() {
        for (nodes, degree) in [(200, 8), (10, 3), (10, 2), (50, 5), (3, 8)] {
            for seed in 0..20 {
                let graph = Topology::random(nodes, degree, seed);
                assert_eq!(graph, Topology::random(nodes, degree, seed));
                assert!(graph.is_connected(), "{nodes} nodes, degree {degree}, seed {seed}");
                assert!(graph.neighbours().iter().all(|of| of.len() <= degree));
            }
        }
        let mean = 2 * Topology::random(200, 8, 1).links.len() / 200;
        assert!(mean >= 7);
        assert_ne!(Topology::random(200, 8, 1), Topology::random(200, 8, 2));
    }

    #[test]
    fn a_graph_in_two_parts_is_not_connected() {
        assert!(!Topology::new(4, [(0, 1), (2, 3)]).is_connected());
    }
}
