//! Registry client: resolve, fetch, verify, authenticate
