//! Who to ask, how fast, and what an answer means: JSON-RPC over HTTP to several providers.

mod call;
mod config;
mod endpoint;
mod envelope;
mod error;
mod health;
mod pacer;
mod pool;

pub use call::Call;
pub use config::{Limits, ProviderConfig};
pub use endpoint::{Endpoint, EndpointStatus};
pub use envelope::{BatchReply, Reply, parse_batch, parse_single};
pub use error::{Cause, RpcError};
pub use pool::{Pool, PoolError};
