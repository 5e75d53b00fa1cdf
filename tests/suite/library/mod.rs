//! Through the library's public faces.

mod ab;
mod baselines;
mod house;
mod hub;
mod mine;
mod world;
