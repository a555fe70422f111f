//! `/rpc/{chain}`: Ethereum's JSON-RPC over HTTP and WebSocket, answered from what is captured, at
//! no provider's cost (<https://ethereum.github.io/execution-apis>).
//!
//! What is not here is never answered as if it did not exist: a block below the head that is not
//! captured is an error, only one above the head is `null`.

mod answer;
mod error;
mod fees;
mod filter;
mod filters;
mod logs;
mod news;
mod params;
mod read;
mod refused;
mod socket;

pub(super) use answer::post;
pub(super) use filters::Filters;
pub(super) use socket::upgrade;

#[cfg(test)]
mod fuzz;
