//! The data plane: listeners, HTTP/1.1, routing, balancing, pools, policies, drain
