// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

/// What a case is about. The order is part of the interface.
enum Violation {
    None,
    Downtime,
    JobAbandonment,
    SecurityViolation,
    Fraud,
    SLAViolation,
    DataLoss
}

/// What the reputation counts. The order is part of the interface.
enum Kind {
    JobCompleted,
    JobUnserved,
    UptimeProven,
    HealthFailed,
    ReplicaMismatch,
    Slashed,
    SecurityBreach
}

/// What the court needs of the staking contract.
interface ISlashable {
    function openCase(address provider) external returns (uint256 id);
    function closeCase(uint256 id) external;
    function slash(uint256 id, uint256 bps) external;
    function freeze(uint256 id) external;
    function court() external view returns (address);
    function resolveBy(uint256 id) external view returns (uint40);
}

/// What the escrow asks the staking contract.
interface IEligibility {
    function eligible(address provider) external view returns (bool);
}

/// Stake lent to a provider, at risk after the provider's own.
interface IDelegatedStake {
    function atRisk(address provider) external view returns (uint256);
    function slash(address provider, uint256 amount) external returns (uint256 taken);
}

/// Where stake moves when a provider follows governance to a new staking contract.
interface IStakeSuccessor {
    function stakeFor(address provider, uint256 amount) external;
}

/// Where facts about providers are recorded.
interface IReputation {
    function report(address provider, Kind kind, bytes32 key) external;
}
