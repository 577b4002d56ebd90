//! Mock upstreams, faulty services, seeds and check helpers for tests
