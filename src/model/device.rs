//! Where models are computed: on the CPU, or on the first NVIDIA card of a build with the feature `cuda`.
//!
//! One choice holds for the whole process, and one device is made for it: candle tells two handles of one card
//! apart, and refuses to mix their tensors.

use std::sync::{Once, OnceLock};

use anyhow::{Result, anyhow, ensure};
use candle_core::{DType, Device};

/// What a person asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wish {
    /// A card where this build can use one and one answers, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A card, or an error.
    Cuda,
}

static WISH: OnceLock<Wish> = OnceLock::new();
static CARD: OnceLock<Result<Device, String>> = OnceLock::new();
/// That `auto` found no card is said once.
static SAID: Once = Once::new();

/// Whether this build can compute on a card at all.
pub const BUILT_FOR_CUDA: bool = cfg!(feature = "cuda");

/// Chooses for the process; nothing is opened yet. The first call counts, and without one [`Wish::Auto`] holds.
///
/// # Errors
/// A card is asked for and this build cannot use one.
pub fn choose(wish: Wish) -> Result<()> {
    ensure!(
        BUILT_FOR_CUDA || wish != Wish::Cuda,
        "--device cuda: this build computes on the CPU alone; scripts/build-cuda.sh makes one for NVIDIA cards, target/cuda/build/release/core"
    );
    WISH.get_or_init(|| wish);
    Ok(())
}

/// The device that was chosen, opened at the first call.
///
/// # Errors
/// A card was asked for and none answers.
pub fn open() -> Result<Device> {
    match WISH.get().copied().unwrap_or_default() {
        Wish::Cpu => Ok(Device::Cpu),
        Wish::Cuda => card().map_err(|why| {
            anyhow!("--device cuda: no card answers ({why}): see what `nvidia-smi` says, or use --device cpu")
        }),
        Wish::Auto if !BUILT_FOR_CUDA => Ok(Device::Cpu),
        Wish::Auto => Ok(card().unwrap_or_else(|why| {
            SAID.call_once(|| eprintln!("  no card answers ({why}): the CPU computes, as with --device cpu"));
            Device::Cpu
        })),
    }
}

/// The first card, or why there is none (without the trace that may follow); asked once.
fn card() -> Result<Device, String> {
    // One stream for all threads: what one thread has put on it is done before what another puts there later. candle's
    // default is a stream a thread, between which nothing orders the use of shared weights and of cuBLAS' workspace.
    let why = |error: candle_core::Error| error.to_string().lines().next().unwrap_or_default().to_owned();
    CARD.get_or_init(|| Device::new_cuda_with_stream(0).map_err(why)).clone()
}

/// The devices of this build, for a person: the first is the one that `auto` takes. The other text is what stands in
/// the way of a card, in a build that could use one.
#[must_use]
pub fn describe() -> (String, Option<String>) {
    if !BUILT_FOR_CUDA {
        return ("cpu (this build has no cuda: scripts/build-cuda.sh makes one)".into(), None);
    }
    match card() {
        Ok(card) => (format!("{}, cpu", name(&card)), None),
        Err(why) => ("cpu".into(), Some(why)),
    }
}

/// `cpu`, or `cuda` with the card's name.
#[must_use]
pub fn name(device: &Device) -> String {
    #[cfg(feature = "cuda")]
    if let Ok(card) = device.as_cuda_device()
        && let Ok(name) = card.cuda_stream().context().name()
    {
        return format!("cuda ({name})");
    }
    if device.is_cuda() { "cuda".into() } else { "cpu".into() }
}

/// Number format of products on a device: bfloat16 on cards, float32 elsewhere.
#[must_use]
pub fn products(device: &Device) -> DType {
    if device.is_cuda() { DType::BF16 } else { DType::F32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cards_says_how_to_get_one_and_computes_on_the_cpu() {
        assert!(choose(Wish::Cuda).unwrap_err().to_string().contains("scripts/build-cuda.sh"));
        choose(Wish::Auto).unwrap();
        assert!(open().unwrap().is_cpu());
        assert!(describe().0.contains("scripts/build-cuda.sh"));
    }

    #[test]
    fn the_cpu_computes_in_float32() {
        assert_eq!((products(&Device::Cpu), name(&Device::Cpu).as_str()), (DType::F32, "cpu"));
    }
}
