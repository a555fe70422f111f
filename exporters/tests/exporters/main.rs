//! Every sink keeps the contract: `memory` as the reference, Kafka on librdkafka's mock cluster,
//! CQL on the server that `HEADWATER_CQL` names.

#[cfg(test)]
mod azure_tables;
#[cfg(test)]
mod kafka;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod scylla;
