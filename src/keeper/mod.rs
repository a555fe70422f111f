//! What keeps a store in order while it runs: it indexes, seals, merges, forgets by rule, mends
//! what is missing, and watches the disk.

mod forget;
mod heal;
mod index;
mod seal;
mod space;

pub use forget::Forgetting;
pub use heal::{Healing, heal};
pub use index::index;
pub use seal::seal;
pub use space::{Space, SpaceView, Step, step, watch_space};
