//! features.md and features-linux.md: what the features document says, against
//! what the runtime does.

use crate::check::Check;

/// The checks of both documents, by section.
pub(crate) const CHECKS: &[&[Check]] = &[];
