//! Training: pretraining, supervised fine-tuning and preference objectives over one loop.

pub mod optim;
