//! Load, faults, history, invariants, measures, report: the proof
