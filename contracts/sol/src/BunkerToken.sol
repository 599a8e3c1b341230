// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Burnable} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Burnable.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {ERC20Votes} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Votes.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {Governed} from "./Governed.sol";
import {Params} from "./Params.sol";

/// @title BUNKER
/// @notice ERC-20 with permits (ERC-2612), signed transfers (ERC-3009) and votes counted by time (ERC-5805, ERC-6372).
/// The cap holds for everything ever minted: a burnt token never comes back.
contract BunkerToken is ERC20, ERC20Burnable, ERC20Permit, ERC20Votes, ERC3009, Governed {
    /// @notice Minted since the beginning, burnt tokens included.
    uint256 public totalMinted;

    error MintIsZero();
    error AboveCap(uint256 wanted, uint256 mintable);

    constructor(address governor_, address treasury)
        ERC20("Bunker", "BUNKER")
        ERC20Permit("Bunker")
        Governed(governor_)
    {
        totalMinted = Params.GENESIS;
        _mint(treasury, Params.GENESIS);
    }

    /// @notice Mints within the cap.
    function mint(address to, uint256 amount) external onlyGovernor {
        if (amount == 0) revert MintIsZero();
        if (amount > mintable()) revert AboveCap(amount, mintable());
        totalMinted += amount;
        _mint(to, amount);
    }

    /// @notice What may still be minted, ever.
    function mintable() public view returns (uint256) {
        return Params.CAP - totalMinted;
    }

    /// @notice Seconds since 1970.
    function clock() public view override returns (uint48) {
        return uint48(block.timestamp);
    }

    /// @notice Votes are counted at timestamps: Base's block time is not a promise.
    function CLOCK_MODE() public pure override returns (string memory) {
        return "mode=timestamp";
    }

    /// @inheritdoc ERC20Permit
    function nonces(address owner) public view override(ERC20Permit, Nonces) returns (uint256) {
        return super.nonces(owner);
    }

    function _update(address from, address to, uint256 value) internal override(ERC20, ERC20Votes) {
        super._update(from, to, value);
    }
}
