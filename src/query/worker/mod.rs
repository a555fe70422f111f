//! The process that runs statements: `DataFusion` over what the node says where it lies.

mod about;
mod exact;
mod extremes;
mod functions;
mod limits;
mod node;
mod orphans;
mod output;
mod prune;
mod reason;
mod rewrite;
mod serve;
mod session;
mod table;
mod uint256;
mod words;

pub use serve::run;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
