//! Run-time choice of instruction set: one body, compiled for each, so that the binary stays portable.

/// Wraps a plain loop into versions for AVX-512, AVX2 and whatever the compiler's baseline is, and picks at run time.
///
/// The body must be ordinary safe code; the compiler vectorises it for each version.
macro_rules! dispatch {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$doc])*
        #[allow(unsafe_code, clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn wide($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn narrow($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                use $crate::model::engine::simd::{Level, level};
                match level() {
                    // SAFETY: `level` has seen that this processor has the features the function is compiled for.
                    Level::Avx512Bf16 | Level::Avx512 => return unsafe { wide($($arg),*) },
                    // SAFETY: as above.
                    Level::Avx2 => return unsafe { narrow($($arg),*) },
                    Level::Plain => {}
                }
            }
            body($($arg),*)
        }
    };
}
pub(super) use dispatch;

/// What this processor can do, each level with all that stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The compiler's baseline.
    Plain,
    /// 8 floats at a time.
    Avx2,
    /// 16 floats at a time.
    Avx512,
    /// Dot products of bfloat16 pairs.
    Avx512Bf16,
}

impl Level {
    const ALL: [(Self, &str); 4] =
        [(Self::Plain, "plain"), (Self::Avx2, "avx2"), (Self::Avx512, "avx512"), (Self::Avx512Bf16, "avx512bf16")];

    /// Its name, as `CORE_SIMD` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(level, _)| *level == self).map_or("plain", |(_, name)| name)
    }
}

/// The level in use; `CORE_SIMD=avx512|avx2|plain` lowers it, for tests and comparisons.
#[must_use]
pub fn level() -> Level {
    static LEVEL: std::sync::OnceLock<Level> = std::sync::OnceLock::new();
    *LEVEL.get_or_init(|| {
        let wish = std::env::var("CORE_SIMD").unwrap_or_default();
        let wish = Level::ALL.into_iter().find(|(_, name)| *name == wish).map_or(Level::Avx512Bf16, |(level, _)| level);
        detected().min(wish)
    })
}

#[cfg(target_arch = "x86_64")]
fn detected() -> Level {
    let narrow = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let wide = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (narrow, wide, is_x86_feature_detected!("avx512bf16")) {
        (true, true, true) => Level::Avx512Bf16,
        (true, true, false) => Level::Avx512,
        (true, false, _) => Level::Avx2,
        _ => Level::Plain,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detected() -> Level {
    Level::Plain
}
