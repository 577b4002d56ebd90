//! The engine under a paused clock, with participants that do what a test says.

mod crash;
mod limits;
mod run;
mod world;
