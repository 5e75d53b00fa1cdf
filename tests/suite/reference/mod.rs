//! Against other implementations: golden vectors, and the CPU engine against candle's plain operations.

mod candle;
mod encoder;
mod engine;
mod levels;
mod lora;
mod model;
mod objectives;
mod tokenizer;
mod train;
mod trec;
mod vectors;
