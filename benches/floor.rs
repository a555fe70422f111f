//! `cargo bench --bench floor`: what the work on a block cannot cost less than.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a program for people")]

mod pieces;

/// As in the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    match pieces::recorded() {
        Some(folder) => {
            pieces::measure(&folder);
        }
        None => println!("SKIPPED: no recorded chain data; set HEADWATER_CHAIN_DATA"),
    }
}
