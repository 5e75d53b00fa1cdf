//! All tests from outside, in one program: linked once, where one program a file is most of the time a suite takes.

mod common;
mod library;
mod program;
mod reference;
