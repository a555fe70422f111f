//! The keys of providers: what a call costs, how much is left and until when, who uses which.

mod cost;
mod gate;
mod lease;
mod meter;
mod pacer;
mod ring;
mod window;

pub use cost::{CostTable, Preset, Unit};
pub use meter::MeterStatus;
pub use ring::{Key, Keyring, KeyringError};
pub use window::Window;

pub(super) use gate::{Gate, Pass};
pub(super) use lease::Outcome;
pub(super) use meter::SpendError;
