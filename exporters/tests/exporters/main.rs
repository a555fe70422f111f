//! Every sink keeps the contract: `memory` as the reference, Kafka on librdkafka's mock cluster.

#[cfg(test)]
mod kafka;
#[cfg(test)]
mod memory;
