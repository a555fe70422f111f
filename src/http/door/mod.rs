//! What stands between the network and the routes: how many may come in, who, what they bring, how
//! long they may take, and how they are refused ([bounds](../../../ops/bounds.md)).

mod answer;
mod body;
mod connections;
mod guests;
mod refusal;
mod slots;
mod stream;

pub(super) use answer::Accounted;
pub(super) use connections::Connections;
pub(super) use guests::Guests;
pub use guests::Stranger;
pub(super) use slots::{Phase, Slot, connections_max};

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};

use super::bounds::Bounds;

/// The routes behind the door.
pub(super) fn behind(routes: Router, guests: Guests, bounds: Bounds) -> Router {
    routes
        .layer(from_fn(refusal::as_json))
        .layer(from_fn_with_state(bounds.clone(), body::receive))
        .layer(from_fn_with_state(guests, guests::check))
        .layer(from_fn_with_state(bounds, answer::count))
}
