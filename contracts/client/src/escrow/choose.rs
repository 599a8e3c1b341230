//! The choice of three providers that do not fail together.

use std::net::IpAddr;

use super::{REPLICAS, SignedBid};
use crate::settlement::JobId;
use crate::tier::Tier;
use crate::wallet::Wallet;

/// A wallet with less than this on chain gets no job: the end of probation.
pub const MIN_REPUTATION: u16 = 250;
/// Candidates that are weighed against each other, the cheapest. All triples of 64 are 41,664.
pub const MAX_CANDIDATES: usize = 64;

/// How long an offer must still stand, in seconds: the transaction takes some blocks.
pub const TIME_TO_OPEN: u64 = 60;

/// A bid and what is known of its provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The bid; its signature was verified.
    pub bid: SignedBid,
    /// Tier that counts.
    pub tier: Tier,
    /// Whether a case has frozen the stake.
    pub frozen: bool,
    /// Score on chain, 0 to 1000.
    pub reputation: u16,
    /// Jobs it runs already.
    pub jobs: u32,
    /// Where its tunnels end.
    pub underlay: Option<IpAddr>,
    /// Where it says it is.
    pub region: Option<String>,
}

/// What a job needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// The job.
    pub job: JobId,
    /// Who pays: nobody works for himself.
    pub requester: Wallet,
    /// How long, in seconds.
    pub duration: u32,
    /// What a second may cost at each provider.
    pub max_per_second: u128,
    /// Seconds since 1970.
    pub unix_now: u64,
}

/// Why a candidate is not considered, or there are no three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Unfit {
    /// It has as many jobs as its tier allows.
    #[error("the provider has as many jobs as its tier allows")]
    Busy,
    /// The bid has expired, or will before it can be taken.
    #[error("the bid has expired")]
    Expired,
    /// The stake is frozen.
    #[error("the stake of the provider is frozen")]
    Frozen,
    /// The bid is for another job.
    #[error("a bid for another job")]
    Job,
    /// Too few are left whose wallets, networks and regions differ.
    #[error("there are no three bids of providers that differ in wallet, network and region")]
    NotEnough,
    /// It is the requester's own.
    #[error("a bid of the requester")]
    Own,
    /// The score is too low.
    #[error("the reputation of the provider is too low")]
    Reputation,
    /// The provider will not work that long.
    #[error("the bid is for a shorter time")]
    TooShort,
    /// It costs more than the job may.
    #[error("the bid is too high")]
    TooHigh,
    /// There is no stake.
    #[error("the provider has no stake")]
    Unstaked,
}

impl Candidate {
    /// Whether it can do the job at all.
    ///
    /// # Errors
    /// [`Unfit`] says why not.
    pub fn check(&self, needs: &Needs) -> Result<(), Unfit> {
        let bid = self.bid.bid();
        let unfit = match () {
            () if bid.job != needs.job => Unfit::Job,
            () if bid.provider == needs.requester => Unfit::Own,
            () if bid.expires_at < needs.unix_now.saturating_add(TIME_TO_OPEN) => Unfit::Expired,
            () if bid.max_duration < needs.duration => Unfit::TooShort,
            () if bid.per_second > needs.max_per_second => Unfit::TooHigh,
            () if self.tier == Tier::None => Unfit::Unstaked,
            () if self.frozen => Unfit::Frozen,
            () if self.reputation < MIN_REPUTATION => Unfit::Reputation,
            () if self.tier.jobs().is_some_and(|most| self.jobs >= most) => Unfit::Busy,
            () => return Ok(()),
        };
        Err(unfit)
    }

    /// Whether one event may take both: the same owner, network (IPv4 /16, IPv6 /32) or region. What is not known counts
    /// as different; else nobody could work who does not say where he is.
    fn fails_with(&self, other: &Self) -> bool {
        let network = |address: IpAddr| match address.to_canonical() {
            IpAddr::V4(address) => (4, address.to_bits() >> 16),
            IpAddr::V6(address) => {
                let [a, b, ..] = address.segments();
                (6, u32::from(a) << 16 | u32::from(b))
            }
        };
        let same_network =
            self.underlay.is_some() && self.underlay.map(network) == other.underlay.map(network);
        let same_region = self.region.is_some() && self.region == other.region;
        self.bid.bid().provider == other.bid.bid().provider || same_network || same_region
    }
}

/// Chooses the three bids that together cost least, of providers that do not fail together. Among equals the lower wallets
/// win, so that the choice is the same wherever it is made.
///
/// # Errors
/// [`Unfit::NotEnough`] if there are no three.
pub fn choose<'a>(candidates: &'a [Candidate], needs: &Needs) -> Result<[&'a Candidate; REPLICAS], Unfit> {
    let mut fit: Vec<&Candidate> =
        candidates.iter().filter(|candidate| candidate.check(needs).is_ok()).collect();
    fit.sort_by_key(|candidate| (candidate.bid.bid().per_second, candidate.bid.bid().provider));
    fit.truncate(MAX_CANDIDATES);
    let mut best: Option<(u128, [&Candidate; REPLICAS])> = None;
    for (at, a) in fit.iter().enumerate() {
        for (at, b) in fit.iter().enumerate().skip(at + 1).filter(|(_, b)| !a.fails_with(b)) {
            // The first that fits is the cheapest for these two, for they are sorted.
            let third = fit.iter().skip(at + 1).find(|c| !a.fails_with(c) && !b.fails_with(c));
            let Some(c) = third else { continue };
            let cost = [a, b, c].iter().map(|it| it.bid.bid().per_second).sum();
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, [a, b, c]));
            }
        }
    }
    best.map(|(_, chosen)| chosen).ok_or(Unfit::NotEnough)
}
