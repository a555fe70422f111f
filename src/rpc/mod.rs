//! Who to ask, how fast, and what an answer means: JSON-RPC over HTTP to several providers.

mod answer;
mod call;
mod capabilities;
mod config;
mod connect;
mod endpoint;
mod error;
mod exchange;
mod heads;
mod key;
mod plan;
mod pool;
mod router;
mod subscribe;
mod wanted;

pub use answer::{BatchReply, Reply, cause_of, parse_batch, parse_single};
pub use call::{Call, HashForm};
pub use capabilities::ReceiptsBy;
pub use config::{Limits, ProviderConfig};
pub use endpoint::{Endpoint, EndpointStatus};
pub use error::{Cause, RpcError};
pub use heads::{Claim, HeadFault, Judging};
pub use key::{CostTable, Key, Keyring, KeyringError, MeterStatus, Preset, Unit, Window};
pub use plan::{Plan, ProviderPlan};
pub use pool::{Asked, Place, Pool, PoolError, Turn};
pub use router::Purpose;
pub use subscribe::{Feed, Heads, Subscription};
pub use wanted::{DEBUG_TRACE_BLOCK, TRACE_BLOCK, Wanted};
