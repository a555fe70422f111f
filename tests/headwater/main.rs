//! Black-box tests of the whole appliance.

#[cfg(test)]
mod adversary;
#[cfg(test)]
mod asked;
#[cfg(test)]
mod asked_at_start;
#[cfg(test)]
mod backups;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod chains;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod compat;
#[cfg(test)]
mod data;
#[cfg(test)]
mod envelopes;
#[cfg(test)]
mod exporters;
#[cfg(test)]
mod facade;
#[cfg(test)]
mod first_hour;
#[cfg(test)]
mod forks;
#[cfg(test)]
mod hands;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod heads;
#[cfg(test)]
mod hostile_http;
#[cfg(test)]
mod hostile_sql;
#[cfg(test)]
mod hostile_words;
#[cfg(test)]
mod keeping;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod lake;
#[cfg(test)]
mod mutants;
#[cfg(test)]
mod proofs;
#[cfg(test)]
mod providers;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod reorgs;
#[cfg(test)]
mod replayed;
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod scorecard;
#[cfg(test)]
mod sinks;
#[cfg(test)]
mod statements;
#[cfg(test)]
mod traces;
#[cfg(test)]
mod ways_round;
#[cfg(test)]
mod wrong_heads;
