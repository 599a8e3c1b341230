// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Burnable} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Burnable.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {ERC20Votes} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Votes.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {SlotDerivation} from "@openzeppelin/contracts/utils/SlotDerivation.sol";
import {StorageSlot} from "@openzeppelin/contracts/utils/StorageSlot.sol";
import {Governed} from "./Governed.sol";
import {Params} from "./Params.sol";

/// @title BUNKER
/// @notice ERC-20 with permits (ERC-2612), signed transfers (ERC-3009) and votes counted by time (ERC-5805, ERC-6372).
/// The cap holds for everything ever minted: a burnt token never comes back.
contract BunkerToken is ERC20, ERC20Burnable, ERC20Permit, ERC20Votes, ERC3009, Governed {
    using SlotDerivation for bytes32;
    using StorageSlot for bytes32;

    /// Set in a stored balance: the account has a delegate. Votes would read the delegates of both sides of every transfer,
    /// in slots of their own; this bit is read with the balance, and most accounts have none. Every token that can exist
    /// fits 97 bits.
    uint256 private constant HAS_DELEGATE = 1 << 255;
    /// The slot of ERC20's balances, its first variable; it is the first base.
    bytes32 private constant BALANCES = 0;

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

    /// @inheritdoc ERC20
    function balanceOf(address account) public view override returns (uint256) {
        return super.balanceOf(account) & ~HAS_DELEGATE;
    }

    /// @notice Whom the account chose to vote with its tokens; zero: nobody.
    function delegates(address account) public view override returns (address) {
        return super.balanceOf(account) & HAS_DELEGATE == 0 ? address(0) : super.delegates(account);
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

    function _delegate(address account, address delegatee) internal override {
        super._delegate(account, delegatee);
        StorageSlot.Uint256Slot storage held = BALANCES.deriveMapping(account).getUint256Slot();
        held.value = delegatee == address(0) ? balanceOf(account) : balanceOf(account) | HAS_DELEGATE;
    }

    /// Checks the balance for ERC20, which would take the bit for tokens. What it adds and subtracts then leaves it alone.
    function _update(address from, address to, uint256 value) internal override(ERC20, ERC20Votes) {
        if (from != address(0) && balanceOf(from) < value) {
            revert ERC20InsufficientBalance(from, balanceOf(from), value);
        }
        super._update(from, to, value);
    }
}
