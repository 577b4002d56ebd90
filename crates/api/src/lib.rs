//! The machine interface: REST over the handles of the parts
