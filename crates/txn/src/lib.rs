//! Transactions over services that can each only promise their own part.
//!
//! A pure [`machine`] decides, an [`Engine`] performs: it writes what was decided to a [`Journal`], and only then
//! calls a [`Participant`]. So at every moment the journal alone is enough to go on, whatever process died.
//! What is here are sagas: steps in order, each with a call that undoes it, and a pivot after which there is only forward.
//!
//! The traits are the seams: the journal is in memory here and in SQLite in `mainstay-store`, and whoever implements it
//! passes [`conformance`]; the participant is HTTP through the gateway, connected in the binary.

pub mod conformance;
mod definition;
mod engine;
mod journal;
pub mod machine;
mod memory;
mod outcome;
mod participant;
mod record;

pub use definition::{CallTemplate, DEADLINE_MAX, Definition, DefinitionError, Kind, STEPS_MAX, STUCK_AFTER, Step};
pub use engine::{
    Engine, EngineError, Handle, INPUT_BYTES_MAX, KEY_BYTES_MAX, LIST_LIMIT_MAX, OPEN_MAX, Options, OptionsError,
    Start, StartError, Started,
};
pub use journal::{
    Answer, Change, Counts, Cursor, DefinitionId, Filter, History, Inserted, Journal, JournalError, New, Rows, Stored,
};
pub use machine::Status;
pub use memory::MemoryJournal;
pub use outcome::{ERROR_CHARS_MAX, Outcome};
pub use participant::{BranchCall, Op, Participant};
pub use record::{ATTEMPTS_PER_CALL_MAX, Attempt, AttemptOutcome, Page, Record, StepRecord, StepState, Why};
