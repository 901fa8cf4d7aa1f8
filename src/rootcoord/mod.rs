//! Collections, timestamps and ids: what RootCoord decides, and its API for Milvus' own processes. The gateway serves
//! the same catalog to clients.

mod alias;
mod cache;
mod catalog;
mod channel;
mod clock;
mod collection;
mod database;
mod describe;
mod operations;
mod operator;
mod partition;
mod service;
pub mod validate;

pub use cache::{CacheGauges, Listing, MetadataCache};
pub use catalog::{Catalog, named_collection};
pub use clock::allocate_after;
pub use collection::{Eraser, Which};
pub use operations::{Operations, check_metric};
pub use operator::CatalogService;
pub use service::RootCoordService;
