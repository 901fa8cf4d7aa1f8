//! Collections, timestamps and ids: what RootCoord decides, and its API for Milvus' own processes. The gateway serves
//! the same catalog to clients.

mod catalog;
mod clock;
mod describe;
mod service;
pub mod validate;

pub use catalog::{Catalog, Which, database_of};
pub use clock::allocate_after;
pub use service::RootCoordService;
