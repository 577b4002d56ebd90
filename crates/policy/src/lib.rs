//! Request policies as pure state machines: retries, budgets, back-off, ejection, balancing
