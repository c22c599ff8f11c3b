//! Containers, images, networks and events: the only place where they meet
