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
                match $crate::model::engine::simd::level() {
                    // SAFETY: `level` has seen that this processor has the features the function is compiled for.
                    $crate::model::engine::simd::Level::Avx512 => return unsafe { wide($($arg),*) },
                    // SAFETY: as above.
                    $crate::model::engine::simd::Level::Avx2 => return unsafe { narrow($($arg),*) },
                    $crate::model::engine::simd::Level::Plain => {}
                }
            }
            body($($arg),*)
        }
    };
}
pub(super) use dispatch;

/// What this processor can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// 16 floats at a time.
    Avx512,
    /// 8 floats at a time.
    Avx2,
    /// The compiler's baseline.
    Plain,
}

/// The level in use; `CORE_SIMD=avx2|plain` lowers it, for tests and comparisons.
#[must_use]
pub fn level() -> Level {
    static LEVEL: std::sync::OnceLock<Level> = std::sync::OnceLock::new();
    *LEVEL.get_or_init(|| {
        let wish = std::env::var("CORE_SIMD").unwrap_or_default();
        match (detected(), wish.as_str()) {
            (_, "plain") => Level::Plain,
            (Level::Avx512, "avx2") => Level::Avx2,
            (best, _) => best,
        }
    })
}

#[cfg(target_arch = "x86_64")]
fn detected() -> Level {
    let has_wide = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    let has_narrow = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    match (has_wide && has_narrow, has_narrow) {
        (true, _) => Level::Avx512,
        (_, true) => Level::Avx2,
        _ => Level::Plain,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detected() -> Level {
    Level::Plain
}
