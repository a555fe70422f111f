//! Black-box tests of the whole appliance.

mod data;
mod recorded;
