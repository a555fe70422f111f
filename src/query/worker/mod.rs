//! The process that runs statements: `DataFusion` over what the node says where it lies.

mod exact;
mod functions;
mod limits;
mod node;
mod orphans;
mod output;
mod prune;
mod reason;
mod serve;
mod session;
mod table;

pub use serve::run;
