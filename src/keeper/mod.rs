//! What keeps a store in order while it runs: it indexes, seals, merges, forgets by rule, mends
//! what is missing, and watches the disk.

mod forget;
mod heal;
mod index;
mod log_file;
mod rights;
mod seal;
mod space;

pub use forget::Forgetting;
pub use heal::{Healing, heal};
pub use index::index;
pub use log_file::watch_log_file;
pub use rights::warn_of_open_folder;
pub use seal::seal;
pub use space::{Space, SpaceView, Step, step, watch_space};
