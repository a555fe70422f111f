//! Who to ask, how fast, and what an answer means: JSON-RPC over HTTP to several providers.

mod call;
mod capabilities;
mod config;
mod endpoint;
mod envelope;
mod error;
mod key;
mod plan;
mod pool;
mod router;
mod subscribe;
mod wanted;

pub use call::{Call, HashForm};
pub use capabilities::ReceiptsBy;
pub use config::{Limits, ProviderConfig};
pub use endpoint::{Endpoint, EndpointStatus};
pub use envelope::{BatchReply, Reply, parse_batch, parse_single};
pub use error::{Cause, RpcError, cause_of};
pub use key::{CostTable, Key, Keyring, KeyringError, MeterStatus, Preset, Unit, Window};
pub use plan::{Plan, ProviderPlan};
pub use pool::{Asked, Place, Pool, PoolError, Turn};
pub use router::Purpose;
pub use subscribe::{Feed, Heads, Subscription};
pub use wanted::{DEBUG_TRACE_BLOCK, TRACE_BLOCK, Wanted};
