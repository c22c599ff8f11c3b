//! Images from everywhere into the store.
//!
//! [`Source`] says where an image is, [`pull()`] brings it: the index and the
//! manifest for the platform, the config, the layers in parallel, each blob
//! verified before it is visible, each layer unpacked while it comes.
//! The image's name appears last, so that a name always means a whole image,
//! and whatever a killed pull left behind is used by the next one.
//!
//! What an image says about itself is hostile until it is proven: documents
//! are small, indexes are not nested for ever, layers are what they are called
//! and come from the place that was asked, and files of a local layout are
//! opened below its directory only.

mod arriving;
pub mod error;
mod fetch;
mod job;
mod layers;
mod name;
mod origin;
mod packages;
pub mod plan;
pub mod policy;
pub mod progress;
pub mod pull;
pub mod select;
pub mod source;
mod tar;

pub use error::{Error, Result};
pub use policy::Policy;
pub use progress::{Event, Progress, Silent};
pub use pull::{Context, Options, Pulled, When, pull};
pub use source::Source;
