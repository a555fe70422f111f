//! Headwater captures EVM chain data, proves it, keeps it, serves it and forwards it.

pub mod capture;
