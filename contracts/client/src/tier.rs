//! Tiers: what a stake is worth. The numbers are those of `contracts/params.json`, which the contracts are tested against,
//! too.

use std::fmt;

/// One BUNKER in its smallest unit.
pub const TOKEN: u128 = 1_000_000_000_000_000_000;

/// What a stake is worth. The numbers are those of `tierOf` of the staking contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Tier {
    /// Less than the least stake.
    #[default]
    None = 0,
    /// From 1,000,000 BUNKER.
    Starter = 1,
    /// From 5,000,000 BUNKER.
    Bronze = 2,
    /// From 10,000,000 BUNKER.
    Silver = 3,
    /// From 100,000,000 BUNKER.
    Gold = 4,
    /// From 1,000,000,000 BUNKER.
    Platinum = 5,
}

impl Tier {
    /// All of them, the lowest first.
    pub const ALL: [Self; 6] =
        [Self::None, Self::Starter, Self::Bronze, Self::Silver, Self::Gold, Self::Platinum];

    /// The tier with this number, as the staking contract counts them.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Starter),
            2 => Some(Self::Bronze),
            3 => Some(Self::Silver),
            4 => Some(Self::Gold),
            5 => Some(Self::Platinum),
            _ => None,
        }
    }

    /// The highest tier that this stake reaches, in the smallest unit of BUNKER.
    #[must_use]
    pub fn of_stake(stake: u128) -> Self {
        Self::ALL.into_iter().rev().find(|tier| stake >= tier.least_stake()).unwrap_or_default()
    }

    /// The least stake of this tier in the smallest unit of BUNKER.
    #[must_use]
    pub const fn least_stake(self) -> u128 {
        let tokens = match self {
            Self::None => 0,
            Self::Starter => 1_000_000,
            Self::Bronze => 5_000_000,
            Self::Silver => 10_000_000,
            Self::Gold => 100_000_000,
            Self::Platinum => 1_000_000_000,
        };
        tokens * TOKEN
    }

    /// What rewards are weighted with, in hundredths of a percent.
    #[must_use]
    pub const fn multiplier_bps(self) -> u16 {
        match self {
            Self::None => 0,
            Self::Starter => 10_000,
            Self::Bronze => 10_500,
            Self::Silver => 11_000,
            Self::Gold => 11_500,
            Self::Platinum => 12_000,
        }
    }

    /// How many nodes may share the stake of one wallet. A stake that vouched for any number of nodes would be no cost.
    #[must_use]
    pub const fn nodes(self) -> usize {
        match self {
            Self::None | Self::Starter => 1,
            Self::Bronze => 3,
            Self::Silver => 10,
            Self::Gold => 50,
            Self::Platinum => 200,
        }
    }

    /// How many jobs a provider of this tier may have at once; `None`: any number.
    #[must_use]
    pub const fn jobs(self) -> Option<u32> {
        match self {
            Self::None => Some(0),
            Self::Starter => Some(3),
            Self::Bronze => Some(10),
            Self::Silver => Some(50),
            Self::Gold => Some(200),
            Self::Platinum => None,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Starter => "starter",
            Self::Bronze => "bronze",
            Self::Silver => "silver",
            Self::Gold => "gold",
            Self::Platinum => "platinum",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stake_has_the_highest_tier_it_reaches() {
        assert_eq!(Tier::of_stake(0), Tier::None);
        for [below, tier] in Tier::ALL.array_windows() {
            assert_eq!(Tier::of_stake(tier.least_stake() - 1), *below);
            assert_eq!(Tier::of_stake(tier.least_stake()), *tier);
        }
        // 100 billion, all there will ever be.
        assert_eq!(Tier::of_stake(100_000_000_000 * TOKEN), Tier::Platinum);
    }

    #[test]
    fn numbers_are_those_of_the_contract() {
        for (number, tier) in Tier::ALL.into_iter().enumerate() {
            assert_eq!(Tier::from_number(u8::try_from(number).unwrap()), Some(tier));
            assert_eq!(tier as usize, number);
        }
        assert_eq!(Tier::from_number(6), None);
    }
}
