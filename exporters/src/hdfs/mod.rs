//! `hdfs`: sealed parts as files of a lake on HDFS, each whole or not there, each block once.

mod client;
mod config;
mod exporter;
mod failure;
mod files;
mod folder;
mod lake;
mod manifest;

#[cfg(test)]
mod tests;

pub use config::HdfsConfig;
pub use exporter::Hdfs;
