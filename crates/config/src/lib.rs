//! mainstay.yaml: what was written, what it means, and what is wrong with it
