//! Container networks: bridge, addresses, NAT, user-mode networking
