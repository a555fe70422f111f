//! Headwater captures EVM chain data, proves it, keeps it, serves it and forwards it.

pub mod audit;
pub mod backup;
pub mod capture;
pub mod cli;
pub mod clock;
pub mod config;
pub mod devnet;
pub mod exit;
pub mod forward;
pub mod http;
pub mod keeper;
pub mod limits;
pub mod node;
pub mod query;
pub mod rpc;
pub mod secrets;
pub mod supervisor;
pub mod telemetry;
