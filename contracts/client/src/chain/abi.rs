//! The contracts, as `contracts/abi` has them: those files come from the compiler, and a test of the contracts compares.
#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated from the ABI files")]

use alloy::sol;

sol!(
    #[sol(rpc)]
    BunkerStaking,
    "../abi/BunkerStaking.json"
);
sol!(
    #[sol(rpc)]
    BunkerEscrow,
    "../abi/BunkerEscrow.json"
);
sol!(
    #[sol(rpc)]
    BunkerToken,
    "../abi/BunkerToken.json"
);
sol!(
    #[sol(rpc)]
    BunkerReputation,
    "../abi/BunkerReputation.json"
);

sol! {
    /// Many calls in one, at the same address on every chain that has it. A fresh anvil has not.
    #[sol(rpc)]
    interface Multicall3 {
        struct Call3 {
            address target;
            bool allowFailure;
            bytes callData;
        }

        struct Result {
            bool success;
            bytes returnData;
        }

        function aggregate3(Call3[] calldata calls) external payable returns (Result[] memory returnData);
    }
}
