//! The human interface: the dashboard
