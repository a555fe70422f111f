//! Black-box tests of the whole appliance.

#[cfg(test)]
mod data;
#[cfg(test)]
mod recorded;
