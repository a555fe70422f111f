//! Every sink keeps the contract: `memory` as the reference, Kafka on librdkafka's mock cluster.

mod kafka;
mod memory;
