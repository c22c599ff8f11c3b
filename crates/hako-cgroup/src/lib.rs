//! Resource limits to cgroup v2, v1 and hybrid hierarchies
