//! The transaction machine and engine; the traits Journal and Participant
